"""Lines: one hand's spacing along a sloping baseline, in whole pixels, whatever the canvas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mnist_seq.config import LineConfig, MixedConfig, OverlapConfig
from mnist_seq.data.digits import ink_boxes
from mnist_seq.data.layouts import LAYOUTS, Layout
from mnist_seq.data.marks import NUM_MARKS, mark_images
from mnist_seq.data.render import render
from mnist_seq.data.scrawls import NUM_SCRAWL_KINDS, SCRAWLS_OF_A_KIND
from mnist_seq.errors import UserError
from tests.data.preset_configs import pool, preset

IDS = torch.arange(4000)


def sample(config: LineConfig) -> Layout:
    return LAYOUTS["line"](IDS, config, pool("train"), 0)


def ink_columns(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last column of each digit's ink on the canvas, half open."""
    boxes = pool("train").boxes[layout.indices]
    return layout.corners[..., 0] + boxes[..., 0], layout.corners[..., 0] + boxes[..., 2]


def test_number_of_digits_is_uniform_and_zero_with_probability_p_empty() -> None:
    counts = torch.bincount(sample(LineConfig(p_empty=0.25)).present.sum(1), minlength=13)
    assert stats.binomtest(int(counts[0]), len(IDS), 0.25).pvalue > 0.001
    assert stats.chisquare(counts[1:]).pvalue > 0.001


def test_lines_of_one_digit_have_probability_p_single_and_the_others_stay() -> None:
    more = sample(LineConfig(p_empty=0.25, p_single=0.3)).present.sum(1)
    counts = sample(LineConfig(p_empty=0.25)).present.sum(1)
    made_single = more != counts
    assert (more[made_single] == 1).all()
    may_become = int((counts > 1).sum())
    assert stats.binomtest(int(made_single.sum()), may_become, 0.3).pvalue > 0.001
    assert not (made_single & (counts == 0)).any()
    with pytest.raises(UserError, match="p_single=0.3 contradicts data.min_digits=2"):
        LineConfig(p_single=0.3, min_digits=2)


def test_marks_follow_digits_with_their_probabilities() -> None:
    layout = sample(LineConfig(p_mark=0.3, p_final_mark=0.7, p_empty=0.1))
    assert layout.marks is not None
    count, marked = layout.present.sum(1), layout.marks.present
    may_follow = torch.arange(12) < count[:, None]
    assert not (marked & ~may_follow).any()
    short = (count <= 4)[:, None] & may_follow  # on longer lines a mark may find no room
    is_last = torch.arange(12) == count[:, None] - 1
    for slots, probability in ((short & ~is_last, 0.3), (short & is_last, 0.7)):
        assert stats.binomtest(int((marked & slots).sum()), int(slots.sum()), probability).pvalue > 0.001
    kinds = torch.bincount(layout.marks.indices[marked & short], minlength=NUM_MARKS)
    assert len(kinds) == NUM_MARKS, "no scrawl"
    assert stats.chisquare(kinds).pvalue > 0.001
    assert not sample(LineConfig(p_mark=0, p_final_mark=0)).marks.present.any()  # type: ignore[union-attr]


def test_scrawls_stand_in_place_of_digits_with_probability_p_scrawl() -> None:
    layout = sample(LineConfig(p_empty=0.5, p_scrawl=0.4, p_mark=0, p_final_mark=0))
    assert layout.marks is not None
    num_scrawls = layout.marks.present.sum(1)
    empty = ~layout.present.any(1)
    assert not num_scrawls[~empty].any()
    assert stats.binomtest(int((num_scrawls > 0).sum()), int(empty.sum()), 0.4).pvalue > 0.001
    assert stats.chisquare(torch.bincount(num_scrawls[num_scrawls > 0], minlength=7)[1:]).pvalue > 0.001
    indices = layout.marks.indices[num_scrawls > 0] - NUM_MARKS
    kinds = indices // SCRAWLS_OF_A_KIND
    assert (kinds == kinds[:, :1]).all(), "a line has scrawls of one kind"
    assert stats.chisquare(torch.bincount(kinds[:, 0], minlength=NUM_SCRAWL_KINDS)).pvalue > 0.001
    assert stats.chisquare(torch.bincount(indices[:, 0] % SCRAWLS_OF_A_KIND)).pvalue > 0.001


def test_gaps_lie_between_ink_and_within_the_jitter_of_the_lines_own() -> None:
    config = LineConfig(max_digits=6, p_mark=0, p_final_mark=0, min_gap=-2, max_gap=5, gap_jitter=1)
    layout = sample(config)
    left, right = ink_columns(layout)
    gaps, inner = left[:, 1:] - right[:, :-1], layout.present[:, 1:]
    assert set(gaps[inner].tolist()) == set(range(-3, 7))
    spread = gaps.masked_fill(~inner, -99).amax(1) - gaps.masked_fill(~inner, 99).amin(1)
    assert spread[inner.any(1)].max() <= 2
    first = gaps[inner[:, 0], 0]
    assert abs(float(first.float().mean()) - 1.5) < 0.15


def test_lines_with_wide_gaps_are_as_frequent_as_p_wide() -> None:
    config = LineConfig(max_digits=3, p_mark=0, p_final_mark=0, min_gap=-2, max_gap=5, max_wide_gap=30, p_wide=0.25)
    layout = sample(replace(config, gap_jitter=0))
    left, right = ink_columns(layout)
    gaps = (left[:, 1] - right[:, 0])[layout.present[:, 1]]
    assert stats.binomtest(int((gaps > 5).sum()), len(gaps), 0.25 * 25 / 26).pvalue > 0.001
    assert stats.chisquare(torch.bincount(gaps[gaps > 5] - 6)).pvalue > 0.001
    assert stats.chisquare(torch.bincount(gaps[gaps < 5] + 2)).pvalue > 0.001
    assert gaps.max() == 30


@settings(max_examples=40, deadline=None)
@given(width=st.integers(28, 400), max_digits=st.integers(1, 20), gap=st.integers(-7, 60), bleed=st.integers(0, 14))
def test_line_fits_on_every_canvas_that_is_not_refused(width: int, max_digits: int, gap: int, bleed: int) -> None:
    """Frames stay within the bleed, and each digit's centre lies to the right of the one before it."""
    keys = {
        "width": width,
        "max_digits": max_digits,
        "min_gap": gap,
        "max_gap": gap,
        "max_wide_gap": 60,
        "bleed": bleed,
    }
    if max_digits * (20 + min(gap, 0)) > width:
        with pytest.raises(ValueError, match="do not fit"):
            LineConfig(**keys)  # type: ignore[arg-type]
        return
    config = LineConfig(**keys, gap_jitter=0, p_mark=0.5)  # type: ignore[arg-type]
    layout = LAYOUTS["line"](torch.arange(60), config, pool("train"), 1)
    assert layout.marks is not None
    for corners, present in ((layout.corners, layout.present), (layout.marks.corners, layout.marks.present)):
        x, y = corners[present].unbind(-1)
        assert x.numel() == 0 or (-bleed <= x.min() and x.max() <= width - 28 + bleed)
        assert y.numel() == 0 or (-bleed <= y.min() and y.max() <= config.height - 28 + bleed)
    left, right = ink_columns(layout)
    steps = (left + right).diff(dim=1)[layout.present[:, 1:]]
    assert bleed < 14 or steps.numel() == 0 or steps.min() > 0


def test_crowded_line_loses_its_marks_before_its_gaps_shrink() -> None:
    config = LineConfig(width=256, min_digits=12, p_empty=0, p_mark=1, min_gap=2, max_gap=2, gap_jitter=0)
    layout = sample(config)
    assert layout.marks is not None
    assert not layout.marks.present.any(), "twelve marks have no room"
    left, right = ink_columns(layout)
    gaps = left[:, 1:] - right[:, :-1]
    fits = (right - left).sum(1) + 22 <= 252
    assert (gaps[fits] == 2).all()


def test_baseline_has_the_slope_of_its_line() -> None:
    config = LineConfig(height=96, slope=0.2, jitter=0, min_digits=12, p_empty=0, p_mark=0, p_final_mark=0, bleed=0)
    layout = sample(config)
    x, y = layout.corners.double().unbind(-1)
    inner = ((y > 0) & (y < 68)).all(1)  # lines that the canvas does not clip
    centred_x, centred_y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    slope = ((centred_x * centred_y).sum(1) / (centred_x**2).sum(1))[inner]
    residual = centred_y[inner] - slope[:, None] * centred_x[inner]
    assert float(residual.abs().max()) <= 1, "whole pixels along a straight line"
    assert float(slope.min()) >= -0.21
    assert float(slope.max()) <= 0.21


def test_marks_are_ink_within_their_frames_and_scale_with_them() -> None:
    boxes, large = ink_boxes(mark_images(28)), ink_boxes(mark_images(56))
    assert len(boxes) == NUM_MARKS + NUM_SCRAWL_KINDS * SCRAWLS_OF_A_KIND
    assert (boxes[:, 2:] > boxes[:, :2]).all(), "no mark is blank"
    assert float((large / 2 - boxes).abs().max()) <= 1.5


def test_marks_are_augmented_as_digits_are_so_that_only_their_shape_differs() -> None:
    config = preset("line", "data.p_empty=1", "data.p_scrawl=1", "data/corruptions=none")
    ids = torch.arange(20)
    plain, augmented = (render(ids, config, pool("test"), 0, augmented=it).images for it in (False, True))
    assert plain.eq(augmented).flatten(1).all(1).sum() <= 2, "a few are left as they are"
    assert torch.equal(render(ids[5:9], config, pool("test"), 0, augmented=True).images, augmented[5:9])


def test_marks_cannot_be_part_of_a_mixture() -> None:
    with pytest.raises(ValueError, match=r"data\.parts\.l\.p_mark=0\.15: marks cannot be mixed, set it to 0"):
        MixedConfig(parts={"l": LineConfig()}, weights={"l": 1})
    assert MixedConfig(parts={"l": LineConfig(p_mark=0, p_final_mark=0)}, weights={"l": 1}).spec == LineConfig().spec


def test_overlaps_that_lose_no_ink_can_be_part_of_a_mixture_on_a_larger_canvas() -> None:
    line = LineConfig(p_mark=0, p_final_mark=0, bleed=0)
    MixedConfig(parts={"o": OverlapConfig(shift=4), "l": line}, weights={"o": 1, "l": 1})
    with pytest.raises(ValueError, match=r"data\.parts\.o: its canvas must be the largest"):
        MixedConfig(parts={"o": OverlapConfig(shift=5), "l": line}, weights={"o": 1, "l": 1})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"min_gap": 11}, "data.min_gap=11 must be at most data.max_gap=10"),
        ({"max_gap": 41}, "data.max_wide_gap=40 must be at least data.max_gap=41"),
        ({"min_gap": -8}, "data.min_gap=-8 less data.gap_jitter=2 must be at least -7"),
        ({"gap_jitter": 20}, "data.min_gap=-3 less data.gap_jitter=20 must be at least -7"),
        ({"max_digits": 20}, "choose data.width=340, or at most data.max_digits=15"),
        ({"bleed": 15}, "data.bleed=15 must be at most 14"),
        ({"p_mark": 1.5}, "data.p_mark=1.5 must lie in 0..1"),
        ({"slope": 0.6}, "data.slope=0.6 must lie in 0..0.5"),
        ({"jitter": -1}, "data.jitter=-1 must be at least 0"),
    ],
)
def test_impossible_lines_are_refused(keys: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LineConfig(**keys)  # type: ignore[arg-type]
