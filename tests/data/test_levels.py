"""Levels: paper becomes 0 and ink 1, whatever the light and the exposure."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_seq.data import levels


def picture(seed: int, paper: float = 0.2, ink: float = 0.9) -> torch.Tensor:
    """Ink on a twentieth of the picture, with soft noise; 1 H W."""
    random = torch.Generator().manual_seed(seed)
    strokes = torch.rand(1, 8, 32, generator=random).repeat_interleave(4, 1).repeat_interleave(4, 2) > 0.9
    return torch.where(strokes, ink, paper) + 0.02 * torch.rand(1, 32, 128, generator=random)


@given(seed=st.integers(0, 99), gain=st.floats(0.3, 1), offset=st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_levels_do_not_depend_on_gain_and_offset(seed: int, gain: float, offset: float) -> None:
    image = 0.7 * picture(seed)
    expected = levels.stretch_levels(image)
    assert float((levels.stretch_levels(gain * image + offset) - expected).abs().max()) < 0.06
    assert expected.min() == 0
    assert expected.max() > 0.97


def test_pixels_outside_the_picture_are_zero_and_do_not_count() -> None:
    image, inside = picture(1), torch.zeros(1, 32, 128, dtype=torch.bool)
    inside[:, :, 40:80] = True
    surrounded = torch.where(inside, image, 1.0)
    stretched = levels.stretch_levels(surrounded, inside)
    assert (stretched[~inside] == 0).all()
    torch.testing.assert_close(stretched[:, :, 40:80], levels.stretch_levels(image[:, :, 40:80]))
    assert (levels.stretch_levels(image, torch.zeros_like(inside)) == 0).all(), "nothing is inside"


def test_faint_picture_is_not_stretched_to_full_contrast() -> None:
    faint = picture(2, paper=0.5, ink=0.52)
    assert float(levels.stretch_levels(faint).max()) < 0.5


@given(st.integers(0, 99), st.integers(1, 400))
@settings(max_examples=30, deadline=None)
def test_quantiles_are_those_of_the_sorted_levels(seed: int, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, (3, count), generator=random)
    found = levels.quantiles(values, torch.ones(3, count), (0.4, 0.995))
    expected = torch.stack([torch.quantile(values.float(), q, 1, interpolation="higher") for q in (0.4, 0.995)], 1)
    assert float((found - expected).abs().float().median()) <= 256 / count + 1
