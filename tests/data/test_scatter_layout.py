"""Scattered digits: exact counts, bounded overlap, clear orders, and no bias in their positions."""

import random
from itertools import combinations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from mnist_seq.config import ScatterConfig
from mnist_seq.config.row_packing import min_spacing
from mnist_seq.data import reading_order, scatter_layout
from mnist_seq.data.layouts import LAYOUTS
from tests.data.preset_configs import PRESETS, pool, preset
from tests.data.test_layouts import sample_layout

SCATTERED = [name for name in PRESETS if isinstance(preset(name), ScatterConfig)]


def iou(one: list[int], other: list[int], side: int = 28) -> float:
    across, down = (max(0, side - abs(a - b)) for a, b in zip(one, other, strict=True))
    return across * down / (2 * side * side - across * down)


@pytest.mark.parametrize("name", SCATTERED)
def test_scattered_frames_are_disjoint_with_a_clear_order(name: str) -> None:
    config, layout = preset(name), sample_layout(name, 3000)
    assert isinstance(config, ScatterConfig)
    assert reading_order.has_margin(config.order, config.order_margin, layout.corners, layout.present, 28).all()
    for corners, count in zip(layout.corners.tolist(), layout.present.sum(1).tolist(), strict=True):
        for one, other in combinations(corners[:count], 2):
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


@given(values=scatters, first=st.integers(0, 10**9))
@settings(deadline=None, max_examples=150)
def test_every_valid_config_is_placed_by_random_tries_and_by_row_packing(values: dict[str, object], first: int) -> None:
    """Exact counts, bounded overlap, a clear order and every frame on the canvas."""
    if values["order"] == "set":
        values |= {"order_margin": 0}
    try:
        config = ScatterConfig(**values)  # type: ignore[arg-type]
    except ValueError as error:
        assume("does not fit" not in str(error))
        raise
    ids = torch.arange(first, first + 20)
    counts = ids % (config.max_digits + 1)
    random_corners, present = scatter_layout.place_digits(ids, counts, config, 0, "train")
    packed_corners = scatter_layout._fallback_placement(ids, counts, config, 0, "train") * present[..., None]
    assert torch.equal(present.sum(1), counts)
    max_corner = torch.tensor([config.width - 28, config.height - 28])
    for corners in (random_corners, packed_corners):
        assert reading_order.has_margin(config.order, config.order_margin, corners, present, 28).all()
        assert (corners >= 0).all()
        assert (corners <= max_corner).all()
        for scene, count in zip(corners.tolist(), counts.tolist(), strict=True):
            assert all(iou(*pair) <= config.max_iou + 1e-9 for pair in combinations(scene[:count], 2))


@given(st.integers(8, 60), st.floats(0.01, 0.9))
def test_min_spacing_is_the_smallest_that_keeps_the_bound(side: int, bound: float) -> None:
    spacing = min_spacing(side, bound)
    assert iou([0, 0], [spacing, 0], side) <= bound + 1e-9
    assert iou([0, 0], [spacing - 1, 0], side) > bound - 1e-9


def test_packed_rows_are_read_as_rows() -> None:
    """Also where the canvas is higher than a row may be."""
    config = ScatterConfig(height=55, width=80, max_digits=2, order_margin=3)
    ids = torch.arange(2000)
    corners = scatter_layout._fallback_placement(ids, torch.full_like(ids, 2), config, 0, "train")
    assert (corners[:, 0, 1] - corners[:, 1, 1]).abs().max() == 14 - config.order_margin
    assert reading_order.has_margin(
        "rows", config.order_margin, corners, torch.ones(2000, 2, dtype=torch.bool), 28
    ).all()


def test_packed_digits_reach_every_edge_of_the_canvas() -> None:
    config = ScatterConfig(height=64, width=70, max_digits=4, min_digits=4)
    ids = torch.arange(4000)
    corners = scatter_layout._fallback_placement(ids, torch.full_like(ids, 4), config, 0, "train").flatten(0, 1)
    assert corners.amin(0).tolist() == [0, 0]
    assert corners.amax(0).tolist() == [70 - 28, 64 - 28]


@pytest.mark.parametrize("size", [(64, 64), (28, 150), (96, 96)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_packed_digits_are_centred_on_average(size: tuple[int, int], count: int) -> None:
    """However many digits there are."""
    config = ScatterConfig(height=size[0], width=size[1], max_digits=4)
    ids = torch.arange(20_000)
    mean_x = (
        scatter_layout._fallback_placement(ids, torch.full_like(ids, count), config, 0, "train")[:, :count, 0]
        .double()
        .mean(1)
    )
    error = float(mean_x.std()) / len(ids) ** 0.5
    assert abs(float(mean_x.mean()) - (size[1] - 28) / 2) < 4 * error


@pytest.mark.parametrize("name", ["scatter_96", "scatter_96_clear"])
def test_lone_scattered_digits_are_uniform_over_the_canvas(name: str) -> None:
    layout = sample_layout(name, 20_000)
    alone = layout.present.sum(1) == 1
    for axis in (0, 1):
        counts = torch.bincount(layout.corners[alone, 0, axis], minlength=69)
        assert stats.chisquare(counts).pvalue > 0.001


def test_scatter_96_equals_the_published_protocol() -> None:
    """Up to 50 uniform tries per digit, which is then dropped: counts and positions as a plain loop draws them."""
    generator, dropped, positions = random.Random(0), 0, []
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
        positions += placed
    layout = sample_layout("scatter_96", 20_000)
    requested = LAYOUTS["scatter"](
        torch.arange(20_000),
        ScatterConfig(height=96, width=96, min_digits=1, order="left_to_right", order_margin=0),
        pool("train"),
        0,
    ).present.sum()
    ours = int(requested - layout.present.sum())
    assert abs(ours - dropped) < 4 * (ours + dropped) ** 0.5
    assert ours > 0
    for axis in (0, 1):
        theirs = torch.tensor(positions)[:, axis]
        table = torch.stack(
            [torch.bincount(x, minlength=69) for x in (theirs, layout.corners[layout.present][:, axis])]
        )
        assert stats.chi2_contingency(table).pvalue > 0.001
