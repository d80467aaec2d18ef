"""Facts of training in the results."""

from __future__ import annotations

import mnist_seq
from mnist_seq import results
from mnist_seq.config.serialization import to_dict


def test_other_seeds_count_only_if_evaluated_on_the_same_test_scenes() -> None:
    """Those of scatter_96 were evaluated on up to eight digits, as in their training; the protocol has up to four."""
    first, second = {"seed": 1, "scenes": 300}, {"seed": 2, "scenes": 200}
    for recipe, preset, expected in (
        ("single", "single", [first]),
        ("scatter_96", "scatter_96", []),
        ("cluttered", "cluttered_60k", [first]),
    ):
        card = {"data": to_dict(mnist_seq.compose(f"experiment={recipe}").data), "seeds": [first, second]}
        assert results.comparable_seeds(card, mnist_seq.compose(f"data={preset}").data, 300) == expected
    assert results.comparable_seeds({"data": {}}, mnist_seq.compose("data=single").data, 300) == []


def test_pretraining_time_is_that_of_all_models_it_was_initialised_from() -> None:
    cards = {name: mnist_seq.load(name).card for name in ("grid", "scatter_96", "cluttered")}
    earlier = sum(cards[name]["trained"]["seconds"] for name in ("grid", "scatter_96"))
    assert results.pretraining_seconds(cards["cluttered"]) == earlier
    assert results.pretraining_seconds(cards["grid"]) == 0
    not_included = {"trained": {"init_from": "outputs/mine"}}
    assert results.pretraining_seconds(not_included) == 0
