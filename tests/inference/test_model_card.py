"""The card describes what a model reads."""

from __future__ import annotations

import pytest

import mnist_seq
from mnist_seq.config.serialization import to_dict
from mnist_seq.inference.model_card import describe_task


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("data=single",), "one digit on 28x28 pixels"),
        (("data=grid",), "4 digits on 56x56 pixels, in raster order"),
        (("data=grid", "data.p_empty=0.2"), "up to 4 digits on 56x56 pixels, in raster order"),
        (("data=string",), "from left to right"),
        (("data=line",), "up to 12 digits on 32x256 pixels, from left to right"),
        (("data=overlap",), "in any order"),
    ],
)
def test_task_states_count_canvas_and_order(overrides: tuple[str, ...], expected: str) -> None:
    data = mnist_seq.compose(*overrides, "data.digits=uci").data
    assert describe_task(data.spec, to_dict(data)).endswith(expected)
