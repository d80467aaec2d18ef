"""Where digits stand: counts, classes, frames apart, margins, in every preset and in canvases of any size."""

import random
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from mnist_seq.config import (
    ClutteredConfig,
    GridConfig,
    LineConfig,
    MixedConfig,
    OverlapConfig,
    ScatterConfig,
    SingleConfig,
)
from mnist_seq.config.data import VariableCountConfig
from mnist_seq.config.row_packing import min_spacing
from mnist_seq.data import reading_order, scatter_layout
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.layouts import LAYOUTS, Layout
from tests.data.preset_configs import PRESETS, pool, preset

COUNTED = [name for name in PRESETS if isinstance(preset(name), VariableCountConfig)]
SCATTERED = [name for name in PRESETS if isinstance(preset(name), ScatterConfig)]


def laid(name: str, scenes: int, seed: int = 0) -> Layout:
    config = preset(name)
    return LAYOUTS[config.family](torch.arange(scenes), config, pool("train"), seed)


def iou(one: list[int], other: list[int], side: int = 28) -> float:
    across, down = (max(0, side - abs(a - b)) for a, b in zip(one, other, strict=True))
    return across * down / (2 * side * side - across * down)


@pytest.mark.parametrize("name", COUNTED)
def test_counts_are_uniform_and_always_honoured(name: str) -> None:
    config = preset(name)
    assert isinstance(config, VariableCountConfig)
    layout, asked = laid(name, 6000), range(config.min_digits, config.max_digits + 1)
    counts = torch.bincount(layout.present.sum(1), minlength=len(asked) + config.min_digits)[config.min_digits :]
    if len(asked) > 1 and name != "scatter_96":  # the one that may drop
        assert stats.chisquare(counts).pvalue > 0.001
    assert counts.sum() == 6000
    assert (layout.present.long().diff(dim=1) <= 0).all(), "those that are there come first"


@pytest.mark.parametrize("name", PRESETS)
def test_every_digit_of_the_pool_is_as_likely(name: str) -> None:
    layout = laid(name, 6000)
    seen = torch.bincount(layout.indices[layout.present], minlength=len(pool("train")))
    distinct = isinstance(preset(name), OverlapConfig) and preset(name).distinct  # type: ignore[attr-defined]
    assert distinct or stats.chisquare(seen).pvalue > 0.001
    shares = torch.bincount(pool("train").labels[layout.indices[layout.present]], minlength=10) / layout.present.sum()
    assert (shares - pool("train").class_sizes / len(pool("train"))).abs().max() < 0.02


@pytest.mark.parametrize("name", PRESETS)
def test_frames_lie_on_the_canvas(name: str) -> None:
    layout, spec = laid(name, 3000), preset(name).spec
    corners = layout.corners[layout.present]
    lowest = -layout.bleed
    assert corners.min() >= lowest
    assert (corners[:, 0].max(), corners[:, 1].max()) <= (spec.width - 28 - lowest, spec.height - 28 - lowest)
    assert lowest == (-2 if name == "multimnist_s6" else 0)


@pytest.mark.parametrize("name", SCATTERED)
def test_scattered_frames_are_disjoint_and_in_a_clear_order(name: str) -> None:
    config, layout = preset(name), laid(name, 3000)
    assert isinstance(config, ScatterConfig)
    assert reading_order.has_margin(config.order, config.order_margin, layout.corners, layout.present, 28).all()
    for corners, there in zip(layout.corners.tolist(), layout.present.sum(1).tolist(), strict=True):
        for one, other in combinations(corners[:there], 2):
            assert max(abs(one[0] - other[0]), abs(one[1] - other[1])) >= 28


scatters = st.builds(
    dict,
    height=st.integers(28, 90),
    width=st.integers(28, 90),
    max_digits=st.integers(1, 6),
    overlap=st.sampled_from(["none", "free", 0.1, 0.3]),
    order=st.sampled_from(["left_to_right", "raster", "rows", "set"]),
    order_margin=st.integers(0, 3),
    max_attempts=st.integers(1, 3),
)


@given(asked=scatters, first=st.integers(0, 10**9))
@settings(deadline=None, max_examples=150)
def test_whatever_is_not_refused_is_placed_by_tries_and_by_seats_alike(asked: dict[str, object], first: int) -> None:
    """Exact counts, overlap within its bound, a clear order, every frame on the canvas."""
    if asked["order"] == "set":
        asked |= {"order_margin": 0}
    try:
        config = ScatterConfig(**asked)  # type: ignore[arg-type]
    except ValueError as refused:
        assume("does not fit" not in str(refused))
        raise
    ids = torch.arange(first, first + 20)
    counts = ids % (config.max_digits + 1)
    tried, present = scatter_layout.place_digits(ids, counts, config, 0, "train")
    seated = scatter_layout._fallback_placement(ids, counts, config, 0, "train") * present[..., None]
    assert torch.equal(present.sum(1), counts)
    room = torch.tensor([config.width - 28, config.height - 28])
    for corners in (tried, seated):
        assert reading_order.has_margin(config.order, config.order_margin, corners, present, 28).all()
        assert (corners >= 0).all()
        assert (corners <= room).all()
        for scene, count in zip(corners.tolist(), counts.tolist(), strict=True):
            assert all(iou(*pair) <= config.max_iou + 1e-9 for pair in combinations(scene[:count], 2))


@given(st.integers(8, 60), st.floats(0.01, 0.9))
def test_spacing_is_the_least_that_keeps_the_bound(side: int, bound: float) -> None:
    apart = min_spacing(side, bound)
    assert iou([0, 0], [apart, 0], side) <= bound + 1e-9
    assert iou([0, 0], [apart - 1, 0], side) > bound - 1e-9


def test_seats_of_one_row_are_read_as_one_row() -> None:
    """Where the canvas leaves more height than a row may take up."""
    config = ScatterConfig(height=55, width=80, max_digits=2, order_margin=3)
    ids = torch.arange(2000)
    corners = scatter_layout._fallback_placement(ids, torch.full_like(ids, 2), config, 0, "train")
    assert (corners[:, 0, 1] - corners[:, 1, 1]).abs().max() == 14 - config.order_margin
    assert reading_order.has_margin(
        "rows", config.order_margin, corners, torch.ones(2000, 2, dtype=torch.bool), 28
    ).all()


def test_seats_reach_all_of_the_canvas() -> None:
    config = ScatterConfig(height=64, width=70, max_digits=4, min_digits=4)
    ids = torch.arange(4000)
    corners = scatter_layout._fallback_placement(ids, torch.full_like(ids, 4), config, 0, "train").flatten(0, 1)
    assert corners.amin(0).tolist() == [0, 0]
    assert corners.amax(0).tolist() == [70 - 28, 64 - 28]


@pytest.mark.parametrize("size", [(64, 64), (28, 150), (96, 96)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_seats_lean_neither_left_nor_right(size: tuple[int, int], count: int) -> None:
    """However many of them are taken."""
    config = ScatterConfig(height=size[0], width=size[1], max_digits=4)
    ids = torch.arange(20_000)
    middles = (
        scatter_layout._fallback_placement(ids, torch.full_like(ids, count), config, 0, "train")[:, :count, 0]
        .double()
        .mean(1)
    )
    error = float(middles.std()) / len(ids) ** 0.5
    assert abs(float(middles.mean()) - (size[1] - 28) / 2) < 4 * error


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_digit_is_judged_alone_once_before_any_is_again(split: str) -> None:
    """10,000 scenes of the test split are the 10,000 test images, in an order of their own for each seed."""
    digits = pool(split)
    ids = torch.arange(3 * len(digits))
    rounds, others = (LAYOUTS["single"](ids, SingleConfig(), digits, seed).indices.view(3, -1) for seed in (0, 1))
    assert all(sorted(each.tolist()) == list(range(len(digits))) for each in rounds)
    assert rounds[0].tolist() != others[0].tolist() != sorted(others[0].tolist())


@pytest.mark.parametrize("name", ["scatter_96", "scatter_96_clear"])
def test_single_digits_are_anywhere_alike(name: str) -> None:
    layout = laid(name, 20_000)
    alone = layout.present.sum(1) == 1
    for axis in (0, 1):
        counts = torch.bincount(layout.corners[alone, 0, axis], minlength=69)
        assert stats.chisquare(counts).pvalue > 0.001


def test_scatter_96_is_the_published_protocol() -> None:
    """Up to 50 uniform tries a digit, then it is left out: counts and places as a plain loop draws them."""
    generator, dropped, places = random.Random(0), 0, []
    for _ in range(20_000):
        placed: list[tuple[int, int]] = []
        for _ in range(generator.randint(1, 4)):
            for _ in range(50):
                x, y = generator.randint(0, 68), generator.randint(0, 68)
                if all(abs(x - a) >= 28 or abs(y - b) >= 28 for a, b in placed):
                    placed.append((x, y))
                    break
            else:
                dropped += 1
        places += placed
    layout = laid("scatter_96", 20_000)
    asked = LAYOUTS["scatter"](
        torch.arange(20_000),
        ScatterConfig(height=96, width=96, min_digits=1, order="left_to_right", order_margin=0),
        pool("train"),
        0,
    ).present.sum()
    ours = int(asked - layout.present.sum())
    assert abs(ours - dropped) < 4 * (ours + dropped) ** 0.5
    assert ours > 0
    for axis in (0, 1):
        theirs = torch.tensor(places)[:, axis]
        table = torch.stack(
            [torch.bincount(each, minlength=69) for each in (theirs, layout.corners[layout.present][:, axis])]
        )
        assert stats.chi2_contingency(table).pvalue > 0.001


def test_lines_keep_their_advances_and_begin_anywhere() -> None:
    layout = laid("line", 5000)
    both = layout.present[:, 1:]
    steps = layout.corners[..., 0].diff(dim=1)[both]
    assert stats.chisquare(torch.bincount(steps - 20)).pvalue > 0.001
    assert set(layout.corners[..., 1][layout.present].tolist()) == set(range(5))
    alone = layout.corners[layout.present.sum(1) == 1, 0, 0]
    assert stats.kstest(alone / 196, "uniform").pvalue > 0.001


def test_distinct_digits_have_distinct_classes_each_digit_as_likely_as_its_class_allows() -> None:
    config = OverlapConfig(max_digits=4, min_digits=4, distinct=True)
    layout = LAYOUTS["overlap"](torch.arange(5000), config, pool("train"), 0)
    classes = pool("train").labels[layout.indices]
    assert (classes.diff(dim=1) > 0).all(), "ascending, and never the same"
    for digit in (0, 5, 9):
        members = (pool("train").labels == digit).nonzero()[:, 0]
        seen = torch.bincount(layout.indices.flatten(), minlength=len(pool("train")))[members]
        assert stats.chisquare(seen).pvalue > 0.001


def test_a_mixture_draws_its_parts_by_weight_on_one_canvas() -> None:
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


def test_what_lies_under_the_digits_of_a_part_stays_with_it() -> None:
    config = MixedConfig(parts={"c": ClutteredConfig(), "s": SingleConfig()}, weights={"c": 1, "s": 1})
    scenes = SyntheticDataset(config, pool("test"))[:100]
    boxed = torch.zeros_like(scenes.images)
    for row, boxes in enumerate(scenes.boxes.tolist()):
        for x0, y0, x1, y1 in boxes:
            boxed[row, 0, y0:y1, x0:x1] = 1
    outside = (scenes.images * (1 - boxed)).flatten(1).any(1)
    assert torch.equal(outside, scenes.counts == 3)


@pytest.mark.parametrize(
    ("make", "said"),
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
        (lambda: LineConfig(width=100), "data.width=140, or at most data.max_digits=3"),
        (lambda: LineConfig(min_advance=30), "data.min_advance=30 must lie in 1..data.max_advance=28"),
        (lambda: OverlapConfig(max_digits=11, distinct=True), "there are 10 classes"),
        (lambda: OverlapConfig(shift=40), "data.shift=40"),
        (lambda: MixedConfig(), "data.parts is empty"),
        (lambda: MixedConfig(parts={"a": SingleConfig()}, weights={"b": 1}), "data.weights has b but data.parts a"),
        (lambda: MixedConfig(parts={"a": SingleConfig()}, weights={"a": 0}), "all 0"),
        (lambda: MixedConfig(parts={"a": SingleConfig(batch_size=7)}, weights={"a": 1}), "set data.batch_size"),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(make: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        make()  # type: ignore[operator]
    assert "\n" not in str(refused.value)


def test_the_way_out_of_a_crowded_canvas_works() -> None:
    with pytest.raises(ValueError, match=r"data.height=(\d+)") as refused:
        ScatterConfig(max_digits=8)
    side = int(str(refused.value).split("data.height=")[1].split()[0])
    ScatterConfig(max_digits=8, height=side, width=side)
