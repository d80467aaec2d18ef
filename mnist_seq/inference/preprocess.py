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

_MAX_SIDE = 500
"""Longer side that a picture is reduced to, pixels: beyond it nothing is gained but noise and time."""
MIN_CONTRAST = 0.1
"""Least contrast of ink, as a share of what there is between the paper and its opposite."""
_NOISE_SIGMAS = 6
"""Ink stands out of the paper's noise by so many of its standard deviations."""
_MIN_COMPONENT_RATIO = 0.15
"""Ink smaller than this share of the largest stroke is dirt."""
_BACKGROUND_LEVEL = 0.15
"""What is fainter than this share of full ink is paper."""
_MARGIN, _DIGIT_HEIGHT = 4 / 28, 20 / 28
"""Background around a digit and the digit's height, as shares of its frame: MNIST's own."""
_MIN_STROKE_WIDTH = 2.4 / 28
"""Thinner strokes are thickened to this share of a digit's frame; MNIST's are 2 to 4 pixels of 28."""


class Ink(NamedTuple):
    """What is written on a picture, cropped to it."""

    intensity: np.ndarray
    """H W, float32: 1 where there is ink, 0 where there is paper, between them at edges."""
    digit_height: float
    """Of a digit, pixels."""
    stroke_width: float
    """Width of a stroke, pixels."""


def fit_to_canvas(image: Tensor, canvas_size: tuple[int, int], digit_size: int = 28) -> Tensor:
    """A picture on a canvas: as it is where it has the canvas' size, else its ink, in digits as tall as MNIST's.

    Args:
        picture: H W, floats in [0, 1], light on dark or dark on light.
        size: h w.
        digit_size: side of the frame whose middle 20/28 a digit fills, pixels of the canvas.

    Returns:
        h w, floats in [0, 1], ink on 0; all 0 where no ink was found.
    """
    if tuple(image.shape) == canvas_size:
        return image
    ink = find_ink(subtract_background(_downscale(image, _MAX_SIDE)))
    if ink is None:
        return torch.zeros(canvas_size)
    frame = min(digit_size, *canvas_size)
    scale = _scale_factor(ink, canvas_size, frame)
    grown = _thicken(ink, _MIN_STROKE_WIDTH * frame / scale)
    return _place_on_canvas(
        grown.intensity, _scale_factor(grown, canvas_size, frame), canvas_size, center_of_mass=max(canvas_size) == frame
    )


def subtract_background(image: np.ndarray) -> np.ndarray:
    """How far each pixel is from the paper about it: 0 paper, 1 its opposite, whatever the light; H W, float32.

    Args:
        picture: H W, float32 in [0, 1], light on dark or dark on light.
    """
    small = ndimage.gaussian_filter(_downscale(torch.from_numpy(image), 128), 0.5)
    # Ink is the rare thing: it skews what is left when the light, here the median of half the picture, is taken away.
    tiny = _downscale(torch.from_numpy(image), 32)
    light = ndimage.median_filter(tiny, [side // 2 + 1 for side in tiny.shape], mode="nearest")
    if ((image - _resize(light, image.shape)) ** 3).mean() < 0:
        image, small = 1 - image, 1 - small
    # The paper is what remains of light ink on dark paper when all that is narrower than a stroke may be is cut off.
    window = 1 + 2 * max(1, min(min(small.shape) // 4, max(small.shape) // 8))
    beyond = np.pad(small, window, mode="reflect", reflect_type="odd")  # goes on as bright as it began to be
    paper = ndimage.grey_opening(beyond, window)[window:-window, window:-window]
    paper = _resize(paper, image.shape)
    return (image - paper) / np.maximum(1 - paper, 0.3)


def find_ink(foreground: np.ndarray) -> Ink | None:
    """The strokes that stand out of the paper, without dirt; None where there are none."""
    foreground = ndimage.gaussian_filter(foreground, max(foreground.shape) / _MAX_SIDE)
    low, high = np.percentile(foreground, (10, 30))  # paper, even where ink covers much
    noise = (high - low) / 0.757  # of a normal distribution's deviation lies between these
    foreground = foreground - (high + 0.524 * noise)
    faintest = max(MIN_CONTRAST, _NOISE_SIGMAS * noise)
    if not (foreground > faintest).any():
        return None
    full = float(np.percentile(foreground[foreground > faintest], 75))  # edges are fainter
    inked = foreground > max(faintest, full / 2)
    parts, _ = ndimage.label(inked, np.ones((3, 3)))
    boxes = ndimage.find_objects(parts)
    sides = np.array([[side.stop - side.start for side in box] for box in boxes])
    kept = sides.max(1) >= max(_MIN_COMPONENT_RATIO * sides.max(), 2)
    if not kept.any():
        return None
    inked = np.concatenate([[False], kept])[parts]
    tall = sides[kept, 0]
    levels = ((foreground / full - _BACKGROUND_LEVEL) / (1 - _BACKGROUND_LEVEL)).clip(0, 1) * ndimage.binary_dilation(
        inked, np.ones((3, 3))
    )
    rows, cols = inked.any(1).nonzero()[0], inked.any(0).nonzero()[0]
    crop = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    depth = ndimage.distance_transform_edt(np.pad(inked[crop], 1))
    pen = 4 * float(depth[depth > 0].mean()) - 2  # across a stroke the distance to its edge rises and falls evenly
    return Ink(levels[crop].astype(np.float32), float(np.median(tall[2 * tall >= tall.max()])), max(pen, 1.0))


def _scale_factor(ink: Ink, canvas_size: tuple[int, int], frame: int) -> float:
    """Pixels of the canvas for one of the picture: digits are as tall as MNIST's where all have room."""
    room = [side - 2 * round(_MARGIN * frame) for side in canvas_size]
    return min(
        room[0] / ink.intensity.shape[0], room[1] / ink.intensity.shape[1], _DIGIT_HEIGHT * frame / ink.digit_height
    )


def _thicken(ink: Ink, min_stroke_width: float) -> Ink:
    """Ink with strokes of at least this width, pixels."""
    more = max(0, round((min_stroke_width - ink.stroke_width) / 2))
    levels = ndimage.maximum_filter(np.pad(ink.intensity, more), 2 * more + 1) if more else ink.intensity
    return Ink(levels, ink.digit_height + 2 * more, ink.stroke_width + 2 * more)


def _place_on_canvas(intensity: np.ndarray, scale: float, canvas_size: tuple[int, int], center_of_mass: bool) -> Tensor:
    """Ink in the middle of a canvas; a digit that has it alone with its centre of mass there, as MNIST's."""
    height, width = (max(1, round(side * scale)) for side in intensity.shape)
    drawn = _resize(intensity, (height, width)).clip(0, 1)
    corner = [(side - extent) // 2 for side, extent in zip(canvas_size, drawn.shape, strict=True)]
    if center_of_mass:
        middle = ndimage.center_of_mass(drawn)
        corner = [round((side - 1) / 2 - at) for side, at in zip(canvas_size, middle, strict=True)]
        corner = [
            min(max(at, 0), side - extent) for at, side, extent in zip(corner, canvas_size, drawn.shape, strict=True)
        ]
    canvas = torch.zeros(canvas_size)
    canvas[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = torch.from_numpy(drawn)
    return canvas


def _downscale(image: Tensor, max_side: int) -> np.ndarray:
    """A picture whose longer side is at most this."""
    share = max_side / max(image.shape)
    if share >= 1:
        return image.numpy()
    height, width = (max(1, round(side * share)) for side in image.shape)
    return _resize(image.numpy(), (height, width))


def _resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    there = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return F.interpolate(there, size=size, mode="bilinear", antialias=True)[0, 0].numpy()
