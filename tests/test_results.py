"""What the results say beside the scores."""

from __future__ import annotations

import mnist_seq
from mnist_seq import results
from mnist_seq.config.serialization import to_dict


def test_seeds_count_where_they_read_as_many_of_the_protocols_scenes() -> None:
    """Those of scatter_96 were judged on up to eight digits, as they were taught; the protocol has four."""
    first, second = {"seed": 1, "scenes": 300}, {"seed": 2, "scenes": 200}
    for recipe, preset, counted in (
        ("single", "single", [first]),
        ("scatter_96", "scatter_96", []),
        ("cluttered", "cluttered_60k", [first]),
    ):
        card = {"data": to_dict(mnist_seq.compose(f"experiment={recipe}").data), "seeds": [first, second]}
        assert results.comparable_seeds(card, mnist_seq.compose(f"data={preset}").data, 300) == counted
    assert results.comparable_seeds({"data": {}}, mnist_seq.compose("data=single").data, 300) == []


def test_a_reader_took_the_time_of_those_that_it_began_with() -> None:
    cards = {name: mnist_seq.load(name).card for name in ("grid", "scatter_96", "cluttered")}
    earlier = sum(cards[name]["trained"]["seconds"] for name in ("grid", "scatter_96"))
    assert results.pretraining_seconds(cards["cluttered"]) == earlier
    assert results.pretraining_seconds(cards["grid"]) == 0
    elsewhere = {"trained": {"init_from": "outputs/mine"}}
    assert results.pretraining_seconds(elsewhere) == 0
