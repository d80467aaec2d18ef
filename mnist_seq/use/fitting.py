"""A photo, scan or drawing of any size, as a canvas of the kind that a model has learnt to read.

Shapes   H W of the picture, or of what is left of it   h w of the canvas
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

_LONGEST = 500
"""Longer side that a picture is reduced to, pixels: beyond it nothing is gained but noise and time."""
FAINTEST = 0.1
"""Least contrast of ink, as a share of what there is between the paper and its opposite."""
_NOISE = 6
"""Ink stands out of the paper's noise by so many of its standard deviations."""
_SPECK = 0.15
"""Ink smaller than this share of the largest stroke is dirt."""
_PAPER = 0.15
"""What is fainter than this share of full ink is paper."""
_MARGIN, _DIGIT = 4 / 28, 20 / 28
"""Background around a digit and the digit's height, as shares of its frame: MNIST's own."""
_PEN = 2.4 / 28
"""Thinner strokes are thickened to this share of a digit's frame; MNIST's are 2 to 4 pixels of 28."""


class Ink(NamedTuple):
    """What is written on a picture, cropped to it."""

    levels: np.ndarray
    """H W, float32: 1 where there is ink, 0 where there is paper, between them at edges."""
    height: float
    """Of a digit, pixels."""
    pen: float
    """Width of a stroke, pixels."""


def fit(picture: Tensor, size: tuple[int, int], digit_size: int = 28) -> Tensor:
    """A picture on a canvas: as it is where it has the canvas' size, else its ink, in digits as tall as MNIST's.

    Args:
        picture: H W, floats in [0, 1], light on dark or dark on light.
        size: h w.
        digit_size: side of the frame whose middle 20/28 a digit fills, pixels of the canvas.

    Returns:
        h w, floats in [0, 1], ink on 0; all 0 where no ink was found.
    """
    if tuple(picture.shape) == size:
        return picture
    ink = find_ink(contrast(_reduced(picture, _LONGEST)))
    if ink is None:
        return torch.zeros(size)
    frame = min(digit_size, *size)
    scale = _scale(ink, size, frame)
    grown = _thickened(ink, _PEN * frame / scale)
    return _placed(grown.levels, _scale(grown, size, frame), size, alone=max(size) == frame)


def contrast(picture: np.ndarray) -> np.ndarray:
    """How far each pixel is from the paper about it: 0 paper, 1 its opposite, whatever the light; H W, float32.

    Args:
        picture: H W, float32 in [0, 1], light on dark or dark on light.
    """
    small = ndimage.gaussian_filter(_reduced(torch.from_numpy(picture), 128), 0.5)
    # Ink is the rare thing: it skews what is left when the light, here the median of half the picture, is taken away.
    tiny = _reduced(torch.from_numpy(picture), 32)
    light = ndimage.median_filter(tiny, [side // 2 + 1 for side in tiny.shape], mode="nearest")
    if ((picture - _resized(light, picture.shape)) ** 3).mean() < 0:
        picture, small = 1 - picture, 1 - small
    # The paper is what remains of light ink on dark paper when all that is narrower than a stroke may be is cut off.
    window = 1 + 2 * max(1, min(min(small.shape) // 4, max(small.shape) // 8))
    beyond = np.pad(small, window, mode="reflect", reflect_type="odd")  # goes on as bright as it began to be
    paper = ndimage.grey_opening(beyond, window)[window:-window, window:-window]
    paper = _resized(paper, picture.shape)
    return (picture - paper) / np.maximum(1 - paper, 0.3)


def find_ink(contrast: np.ndarray) -> Ink | None:
    """The strokes that stand out of the paper, without dirt; None where there are none."""
    contrast = ndimage.gaussian_filter(contrast, max(contrast.shape) / _LONGEST)
    low, high = np.percentile(contrast, (10, 30))  # paper, even where ink covers much
    noise = (high - low) / 0.757  # of a normal distribution's deviation lies between these
    contrast = contrast - (high + 0.524 * noise)
    faintest = max(FAINTEST, _NOISE * noise)
    if not (contrast > faintest).any():
        return None
    full = float(np.percentile(contrast[contrast > faintest], 75))  # edges are fainter
    inked = contrast > max(faintest, full / 2)
    parts, _ = ndimage.label(inked, np.ones((3, 3)))
    boxes = ndimage.find_objects(parts)
    sides = np.array([[side.stop - side.start for side in box] for box in boxes])
    kept = sides.max(1) >= max(_SPECK * sides.max(), 2)
    if not kept.any():
        return None
    inked = np.concatenate([[False], kept])[parts]
    tall = sides[kept, 0]
    levels = ((contrast / full - _PAPER) / (1 - _PAPER)).clip(0, 1) * ndimage.binary_dilation(inked, np.ones((3, 3)))
    rows, cols = inked.any(1).nonzero()[0], inked.any(0).nonzero()[0]
    crop = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    depth = ndimage.distance_transform_edt(np.pad(inked[crop], 1))
    pen = 4 * float(depth[depth > 0].mean()) - 2  # across a stroke the distance to its edge rises and falls evenly
    return Ink(levels[crop].astype(np.float32), float(np.median(tall[2 * tall >= tall.max()])), max(pen, 1.0))


def _scale(ink: Ink, size: tuple[int, int], frame: int) -> float:
    """Pixels of the canvas for one of the picture: digits are as tall as MNIST's where all have room."""
    room = [side - 2 * round(_MARGIN * frame) for side in size]
    return min(room[0] / ink.levels.shape[0], room[1] / ink.levels.shape[1], _DIGIT * frame / ink.height)


def _thickened(ink: Ink, pen: float) -> Ink:
    """Ink with strokes of at least this width, pixels."""
    more = max(0, round((pen - ink.pen) / 2))
    levels = ndimage.maximum_filter(np.pad(ink.levels, more), 2 * more + 1) if more else ink.levels
    return Ink(levels, ink.height + 2 * more, ink.pen + 2 * more)


def _placed(levels: np.ndarray, scale: float, size: tuple[int, int], alone: bool) -> Tensor:
    """Ink in the middle of a canvas; a digit that has it alone with its centre of mass there, as MNIST's."""
    height, width = (max(1, round(side * scale)) for side in levels.shape)
    drawn = _resized(levels, (height, width)).clip(0, 1)
    corner = [(side - extent) // 2 for side, extent in zip(size, drawn.shape, strict=True)]
    if alone:
        middle = ndimage.center_of_mass(drawn)
        corner = [round((side - 1) / 2 - at) for side, at in zip(size, middle, strict=True)]
        corner = [min(max(at, 0), side - extent) for at, side, extent in zip(corner, size, drawn.shape, strict=True)]
    canvas = torch.zeros(size)
    canvas[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = torch.from_numpy(drawn)
    return canvas


def _reduced(picture: Tensor, longest: int) -> np.ndarray:
    """A picture whose longer side is at most this."""
    share = longest / max(picture.shape)
    if share >= 1:
        return picture.numpy()
    height, width = (max(1, round(side * share)) for side in picture.shape)
    return _resized(picture.numpy(), (height, width))


def _resized(levels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    there = torch.from_numpy(np.ascontiguousarray(levels))[None, None]
    return F.interpolate(there, size=size, mode="bilinear", antialias=True)[0, 0].numpy()
