"""Layouts: counts, classes and positions have the stated distributions, in every preset and on every canvas."""

import pytest
import torch
from scipy import stats

from mnist_seq.config import (
    ClutteredConfig,
    GridConfig,
    MixedConfig,
    OverlapConfig,
    ScatterConfig,
    SingleConfig,
    StringConfig,
)
from mnist_seq.config.data import VariableCountConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.layouts import LAYOUTS, Layout
from tests.data.preset_configs import PRESETS, pool, preset

COUNTED = [name for name in PRESETS if isinstance(preset(name), VariableCountConfig) and name != "line"]


def sample_layout(name: str, num_scenes: int, seed: int = 0) -> Layout:
    config = preset(name)
    return LAYOUTS[config.family](torch.arange(num_scenes), config, pool("train"), seed)


@pytest.mark.parametrize("name", COUNTED)
def test_digit_counts_are_uniform_and_exact(name: str) -> None:
    config = preset(name)
    assert isinstance(config, VariableCountConfig)
    layout, counts_range = sample_layout(name, 6000), range(config.min_digits, config.max_digits + 1)
    counts = torch.bincount(layout.present.sum(1), minlength=len(counts_range) + config.min_digits)[config.min_digits :]
    if len(counts_range) > 1 and name != "scatter_96":  # the only one that may drop digits
        assert stats.chisquare(counts).pvalue > 0.001
    assert counts.sum() == 6000
    assert (layout.present.long().diff(dim=1) <= 0).all(), "slots with a digit come first"


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "multidigit_mnist"])
def test_digits_are_uniform_over_the_pool(name: str) -> None:
    layout = sample_layout(name, 6000)
    counts = torch.bincount(layout.indices[layout.present], minlength=len(pool("train")))
    distinct = isinstance(preset(name), OverlapConfig) and preset(name).distinct  # type: ignore[attr-defined]
    assert distinct or stats.chisquare(counts).pvalue > 0.001
    shares = torch.bincount(pool("train").labels[layout.indices[layout.present]], minlength=10) / layout.present.sum()
    assert (shares - pool("train").class_sizes / len(pool("train"))).abs().max() < 0.02


@pytest.mark.parametrize("name", PRESETS)
def test_frames_lie_on_the_canvas_or_within_the_bleed(name: str) -> None:
    layout, spec = sample_layout(name, 3000), preset(name).spec
    corners = layout.corners[layout.present]
    lowest = -layout.bleed
    assert corners.min() >= lowest
    assert (corners[:, 0].max(), corners[:, 1].max()) <= (spec.width - 28 - lowest, spec.height - 28 - lowest)
    assert lowest == {"multimnist_s6": -2, "line": -8}.get(name, 0)


@pytest.mark.parametrize("split", ["val", "test"])
def test_single_shows_every_eval_digit_once_before_any_repeats(split: str) -> None:
    """10,000 scenes of the test split are the 10,000 test images, in a different order for each seed."""
    digits = pool(split)
    ids = torch.arange(3 * len(digits))
    passes, other_passes = (LAYOUTS["single"](ids, SingleConfig(), digits, seed).indices.view(3, -1) for seed in (0, 1))
    assert all(sorted(indices.tolist()) == list(range(len(digits))) for indices in passes)
    assert passes[0].tolist() != other_passes[0].tolist() != sorted(other_passes[0].tolist())


def test_string_advances_and_starts_are_uniform() -> None:
    layout = sample_layout("string", 5000)
    has_previous = layout.present[:, 1:]
    advances = layout.corners[..., 0].diff(dim=1)[has_previous]
    assert stats.chisquare(torch.bincount(advances - 20)).pvalue > 0.001
    assert set(layout.corners[..., 1][layout.present].tolist()) == set(range(5))
    starts = layout.corners[layout.present.sum(1) == 1, 0, 0]
    assert stats.kstest(starts / 196, "uniform").pvalue > 0.001


def test_distinct_digits_have_distinct_classes_and_are_uniform_within_each() -> None:
    config = OverlapConfig(max_digits=4, min_digits=4, distinct=True)
    layout = LAYOUTS["overlap"](torch.arange(5000), config, pool("train"), 0)
    classes = pool("train").labels[layout.indices]
    assert (classes.diff(dim=1) > 0).all(), "ascending, and never the same"
    for digit in (0, 5, 9):
        members = (pool("train").labels == digit).nonzero()[:, 0]
        counts = torch.bincount(layout.indices.flatten(), minlength=len(pool("train")))[members]
        assert stats.chisquare(counts).pvalue > 0.001


def test_mixed_draws_its_parts_by_weight_on_one_canvas() -> None:
    parts = {"few": ScatterConfig(max_digits=1, min_digits=1), "grid": GridConfig(), "one": SingleConfig()}
    config = MixedConfig(parts=parts, weights={"few": 2, "grid": 1, "one": 1})
    scenes = SyntheticDataset(config, pool("test"))[:4000]
    assert scenes.images.shape[-2:] == (64, 64)
    counts = torch.bincount(scenes.counts, minlength=5)
    assert counts[[0, 2, 3]].sum() == 0
    assert stats.chisquare(counts[[1, 4]], [3000, 1000]).pvalue > 0.001
    layout = LAYOUTS["mixed"](torch.arange(4000), config, pool("test"), 0)
    first = layout.corners[scenes.counts == 4, 0]
    for axis in (0, 1):
        assert stats.chisquare(torch.bincount(first[:, axis], minlength=9)).pvalue > 0.001


def test_mixed_keeps_distractors_with_their_part() -> None:
    config = MixedConfig(parts={"c": ClutteredConfig(), "s": SingleConfig()}, weights={"c": 1, "s": 1})
    scenes = SyntheticDataset(config, pool("test"))[:100]
    in_boxes = torch.zeros_like(scenes.images)
    for row, boxes in enumerate(scenes.boxes.tolist()):
        for x0, y0, x1, y1 in boxes:
            in_boxes[row, 0, y0:y1, x0:x1] = 1
    outside = (scenes.images * (1 - in_boxes)).flatten(1).any(1)
    assert torch.equal(outside, scenes.counts == 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ScatterConfig(max_digits=8),
            r"data.max_digits=8 .* 64x64 .* at most data.max_digits=4, or data.height",
        ),
        (lambda: ScatterConfig(overlap="some"), "data.overlap=some must be none, free, or a bound"),
        (lambda: ScatterConfig(overlap=1.5), "data.overlap=1.5"),
        (lambda: ScatterConfig(order="random"), "data.order=random is unknown: choose from left_to_right"),
        (lambda: ScatterConfig(order_margin=15), r"data.order_margin=15 must lie in 0..14"),
        (lambda: ScatterConfig(order="set"), "data.order_margin=2 has no meaning"),
        (lambda: ScatterConfig(drop_unplaced=True), "choose data.order_margin=0"),
        (lambda: ScatterConfig(height=20), "data.height=20 is less than data.digit_size=28"),
        (lambda: ScatterConfig(min_digits=5), r"data.min_digits=5 must lie in 0..data.max_digits=4"),
        (lambda: ScatterConfig(max_length=3), "data.max_length=3"),
        (lambda: StringConfig(width=100), "data.width=140, or at most data.max_digits=3"),
        (lambda: StringConfig(min_advance=30), "data.min_advance=30 must lie in 1..data.max_advance=28"),
        (lambda: OverlapConfig(max_digits=11, distinct=True), "there are 10 classes"),
        (lambda: OverlapConfig(shift=40), "data.shift=40"),
        (lambda: MixedConfig(), "data.parts is empty"),
        (lambda: MixedConfig(parts={"a": SingleConfig()}, weights={"b": 1}), "data.weights has b but data.parts a"),
        (lambda: MixedConfig(parts={"a": SingleConfig()}, weights={"a": 0}), "all 0"),
        (lambda: MixedConfig(parts={"a": SingleConfig(batch_size=7)}, weights={"a": 1}), "set data.batch_size"),
    ],
)
def test_impossible_layouts_raise_with_a_way_out(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make()  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_suggested_canvas_size_is_large_enough() -> None:
    with pytest.raises(ValueError, match=r"data.height=(\d+)") as error:
        ScatterConfig(max_digits=8)
    side = int(str(error.value).split("data.height=")[1].split()[0])
    ScatterConfig(max_digits=8, height=side, width=side)
