"""The spec of each family: its cells, and whether order counts."""

import pytest
import torch

import mnist_seq
from mnist_seq.config import MixedConfig, OverlapConfig, StringConfig
from mnist_seq.data.datasets import SyntheticDataset
from tests.data.preset_configs import PRESETS, pool, preset
from tests.data.test_layouts import sample_layout


@pytest.mark.parametrize("name", PRESETS)
def test_no_cell_holds_two_digits(name: str) -> None:
    """If a family has cells for the classifier, each digit has its own."""
    scenes = SyntheticDataset(preset(name), pool("test"))[:2000]
    if preset(name).spec.cells == (0, 0):
        assert scenes.cells.shape[1] == 0
    else:
        assert torch.equal((scenes.cells < 10).sum(1), scenes.counts)


def test_order_counts_unless_digits_overlap_or_order_is_set() -> None:
    assert {name for name in PRESETS if not preset(name).spec.ordered} == {
        *("overlap", "stacked", "multimnist_s4", "multimnist_s6"),
    }
    assert not preset("scatter", "data.order=set", "data.order_margin=0").spec.ordered
    shared = {"digits": "uci"}
    parts = {"string": StringConfig(**shared), "overlap": OverlapConfig(height=32, width=224, **shared)}
    weights = dict.fromkeys(parts, 1.0)
    assert MixedConfig(parts=parts, weights=weights, **shared).spec.ordered, "one part's order is enough"


def test_part_of_an_unknown_family_raises_with_how_to_add_one() -> None:
    with pytest.raises(ValueError, match=r"data.parts.string=.* is not a scene family: add one with \+data@data.parts"):
        mnist_seq.compose("data=mixed", "+data.parts.string={family: string}", "+data.weights.string=1")
    with pytest.raises(ValueError, match="data.weights.scatter=inf must be at least 0, and finite"):
        mnist_seq.compose("data=mixed", "data.weights.scatter=inf")


@pytest.mark.parametrize("name", ["grid_3x3", "scatter", "string", "cluttered"])
def test_digit_belongs_to_the_cell_that_contains_its_centre(name: str) -> None:
    config = preset(name)
    scenes, layout = SyntheticDataset(config, pool("train"))[:200], sample_layout(name, 200)
    (rows, cols), spec = config.spec.cells, config.spec
    for cells, corners, digits in zip(scenes.cells, layout.corners.tolist(), scenes.digits.tolist(), strict=True):
        for (x, y), digit in zip(corners, digits, strict=False):
            if digit < 10:
                row, col = (y + 14) / (spec.height / rows), (x + 14) / (spec.width / cols)
                assert cells[int(row) * cols + int(col)] == digit
