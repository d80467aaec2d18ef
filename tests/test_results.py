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
        card = {
            "data": to_dict(mnist_seq.compose(f"experiment={recipe}").data),
            "digits": "mnist",
            "seeds": [first, second],
        }
        assert results.comparable_seeds(card, mnist_seq.compose(f"data={preset}").data, "mnist", 300) == expected
        assert results.comparable_seeds(card, mnist_seq.compose(f"data={preset}").data, "uci", 300) == []
    assert results.comparable_seeds({"data": {}}, mnist_seq.compose("data=single").data, "mnist", 300) == []
