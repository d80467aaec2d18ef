"""Preprocess a photo, scan or drawing of any size into the canvas that a model was trained on.

Find the ink whatever the light, paper and polarity, and draw it with digits and strokes of MNIST's size.

Shapes   H W image, or the part of it that is left   h w canvas
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

_MAX_SIDE = 500
"""Largest longer side of an image, pixels; a larger image is downscaled first, since more pixels only add noise."""
MIN_CONTRAST = 0.1
"""Minimum contrast of ink, as a fraction of the range between the paper and its opposite."""
_NOISE_SIGMAS = 6
"""Minimum contrast of ink, in standard deviations of the paper's noise."""
_MIN_COMPONENT_RATIO = 0.15
"""A connected component smaller than this fraction of the largest one is dirt."""
_BACKGROUND_LEVEL = 0.15
"""Pixels below this fraction of full ink are paper."""
_MARGIN, _DIGIT_HEIGHT = 4 / 28, 20 / 28
"""Margin around a digit and height of the digit, as fractions of its frame, as in MNIST."""
_MIN_STROKE_WIDTH = 2.4 / 28
"""Minimum stroke width, as a fraction of a digit's frame; MNIST's strokes are 2 to 4 of 28 pixels wide."""


class Ink(NamedTuple):
    """The ink of an image, cropped to its bounding box."""

    intensity: np.ndarray
    """H W, float32 in [0, 1]: 1 is ink, 0 is paper, edges lie between."""
    digit_height: float
    """Median height of a digit, pixels."""
    stroke_width: float
    """Mean width of a stroke, pixels."""


def fit_to_canvas(image: Tensor, canvas_size: tuple[int, int], digit_size: int = 28) -> Tensor:
    """Fit an image to a canvas. An image of the canvas' size is returned unchanged.

    Args:
        image: H W, floats in [0, 1], light on dark or dark on light.
        canvas_size: (h, w), pixels.
        digit_size: side of a digit's frame on the canvas, pixels; the digit fills 20/28 of it.

    Returns:
        h w, floats in [0, 1], ink on a background of 0; all 0 if the image has no ink.
    """
    if tuple(image.shape) == canvas_size:
        return image
    ink = find_ink(subtract_background(_downscale(image, _MAX_SIDE)))
    if ink is None:
        return torch.zeros(canvas_size)
    frame = min(digit_size, *canvas_size)
    scale = _scale_factor(ink, canvas_size, frame)
    thickened = _thicken(ink, _MIN_STROKE_WIDTH * frame / scale)
    return _place_on_canvas(
        thickened.intensity,
        _scale_factor(thickened, canvas_size, frame),
        canvas_size,
        center_of_mass=max(canvas_size) == frame,
    )


def subtract_background(image: np.ndarray) -> np.ndarray:
    """Subtract uneven light and paper: 0 is paper, 1 its opposite; H W, float32.

    Args:
        image: H W, float32 in [0, 1], light on dark or dark on light.
    """
    small = ndimage.gaussian_filter(_downscale(torch.from_numpy(image), 128), 0.5)
    # Ink covers the smaller part of an image, so it skews the residual after the light (a wide median) is subtracted.
    tiny = _downscale(torch.from_numpy(image), 32)
    light = ndimage.median_filter(tiny, [side // 2 + 1 for side in tiny.shape], mode="nearest")
    if ((image - _resize(light, image.shape)) ** 3).mean() < 0:
        image, small = 1 - image, 1 - small
    # The paper is the grey opening of light ink on dark paper with a window wider than any stroke.
    window = 1 + 2 * max(1, min(min(small.shape) // 4, max(small.shape) // 8))
    padded = np.pad(small, window, mode="reflect", reflect_type="odd")  # continues the gradient of the light
    paper = ndimage.grey_opening(padded, window)[window:-window, window:-window]
    paper = _resize(paper, image.shape)
    return (image - paper) / np.maximum(1 - paper, 0.3)


def find_ink(foreground: np.ndarray) -> Ink | None:
    """Find the strokes and drop dirt; None if there is no ink.

    Args:
        foreground: H W, float32, 0 on paper, as `subtract_background` returns it.
    """
    foreground = ndimage.gaussian_filter(foreground, max(foreground.shape) / _MAX_SIDE)
    low, high = np.percentile(foreground, (10, 30))  # paper, even where ink covers most of the image
    noise = (high - low) / 0.757  # these percentiles of a normal distribution are 0.757 standard deviations apart
    foreground = foreground - (high + 0.524 * noise)
    threshold = max(MIN_CONTRAST, _NOISE_SIGMAS * noise)
    if not (foreground > threshold).any():
        return None
    full = float(np.percentile(foreground[foreground > threshold], 75))  # without the faint edges
    inked = foreground > max(threshold, full / 2)
    labels, _ = ndimage.label(inked, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    sides = np.array([[side.stop - side.start for side in box] for box in boxes])
    kept = sides.max(1) >= max(_MIN_COMPONENT_RATIO * sides.max(), 2)
    if not kept.any():
        return None
    inked = np.concatenate([[False], kept])[labels]
    heights = sides[kept, 0]
    intensity = ((foreground / full - _BACKGROUND_LEVEL) / (1 - _BACKGROUND_LEVEL)).clip(0, 1)
    intensity = intensity * ndimage.binary_dilation(inked, np.ones((3, 3)))
    rows, cols = inked.any(1).nonzero()[0], inked.any(0).nonzero()[0]
    crop = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    distance = ndimage.distance_transform_edt(np.pad(inked[crop], 1))
    # the distance to the edge rises and falls linearly across a stroke
    stroke_width = 4 * float(distance[distance > 0].mean()) - 2
    digit_height = float(np.median(heights[2 * heights >= heights.max()]))
    return Ink(intensity[crop].astype(np.float32), digit_height, max(stroke_width, 1.0))


def _scale_factor(ink: Ink, canvas_size: tuple[int, int], frame: int) -> float:
    """Pixels of the canvas per pixel of the image: digits get MNIST's height if all of the ink fits."""
    available = [side - 2 * round(_MARGIN * frame) for side in canvas_size]
    height, width = ink.intensity.shape
    return min(available[0] / height, available[1] / width, _DIGIT_HEIGHT * frame / ink.digit_height)


def _thicken(ink: Ink, min_stroke_width: float) -> Ink:
    """Dilate ink to strokes of at least `min_stroke_width` pixels."""
    radius = max(0, round((min_stroke_width - ink.stroke_width) / 2))
    intensity = ndimage.maximum_filter(np.pad(ink.intensity, radius), 2 * radius + 1) if radius else ink.intensity
    return Ink(intensity, ink.digit_height + 2 * radius, ink.stroke_width + 2 * radius)


def _place_on_canvas(intensity: np.ndarray, scale: float, canvas_size: tuple[int, int], center_of_mass: bool) -> Tensor:
    """Center ink on a canvas, by its bounding box or, as in MNIST, by its center of mass."""
    height, width = (max(1, round(side * scale)) for side in intensity.shape)
    resized = _resize(intensity, (height, width)).clip(0, 1)
    corner = [(side - extent) // 2 for side, extent in zip(canvas_size, resized.shape, strict=True)]
    if center_of_mass:
        center = ndimage.center_of_mass(resized)
        corner = [round((side - 1) / 2 - mass) for side, mass in zip(canvas_size, center, strict=True)]
        corner = [
            min(max(start, 0), side - extent)
            for start, side, extent in zip(corner, canvas_size, resized.shape, strict=True)
        ]
    canvas = torch.zeros(canvas_size)
    canvas[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = torch.from_numpy(resized)
    return canvas


def _downscale(image: Tensor, max_side: int) -> np.ndarray:
    """Downscale an image whose longer side exceeds `max_side` pixels."""
    scale = max_side / max(image.shape)
    if scale >= 1:
        return image.numpy()
    height, width = (max(1, round(side * scale)) for side in image.shape)
    return _resize(image.numpy(), (height, width))


def _resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    return F.interpolate(tensor, size=size, mode="bilinear", antialias=True)[0, 0].numpy()
