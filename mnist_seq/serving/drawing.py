"""Pictures for the page: what is drawn or uploaded as a picture, guides to draw along, and attention over an image.

Shapes   H W canvas of a model   k pixels of the page for each of its pixels
"""

from __future__ import annotations

from itertools import product

import numpy as np
from PIL import Image, ImageDraw

from mnist_seq.config import Spec

_FRAME, _MARGIN, _STROKE = 28, 4, 2.5
"""Of MNIST's digits: side of the frame, what it leaves around them, and the median width of their strokes, pixels."""
_WIDEST, _LINE = 340, 672
"""Of a canvas on the page, pixels: what a phone has room for, and what a line of digits needs."""
_DARK, _EDGE, _HINT = (17, 20, 26), (58, 66, 80), (48, 56, 70)


def zoom(spec: Spec) -> int:
    """Pixels of the page for each of the canvas, a whole number."""
    return max(1, (_LINE if lengthy(spec) else _WIDEST) // spec.width)


def lengthy(spec: Spec) -> bool:
    """Whether a canvas is a line, too low to draw on where it is as narrow as a phone."""
    return spec.width > 3 * spec.height


def cellular(spec: Spec) -> bool:
    """Whether each cell of the canvas is a digit's frame."""
    return tuple(cells * spec.digit_size for cells in spec.cells) == (spec.height, spec.width)


def pen(spec: Spec) -> int:
    """Width of the pen on the page, pixels."""
    return round(zoom(spec) * _STROKE * spec.digit_size / _FRAME)


def guides(spec: Spec) -> Image.Image:
    """What lies beneath a drawing: where cells end and how large a digit is; k H x k W."""
    k = zoom(spec)
    picture = Image.new("RGB", (k * spec.width, k * spec.height), _DARK)
    pencil = ImageDraw.Draw(picture)
    rows, cols = spec.cells if cellular(spec) else (1, 1)
    side, inset = k * spec.digit_size, k * spec.digit_size * _MARGIN / _FRAME
    for left, top in product(range(0, cols * side, side), range(0, rows * side, side)):
        box = (left + inset, top + inset, left + side - inset, top + side - inset)
        pencil.rounded_rectangle(box, radius=k, outline=_HINT)
    for top in range(side, rows * side, side):
        pencil.line((0, top, picture.width, top), _EDGE, 2)
    for left in range(side, cols * side, side):
        pencil.line((left, 0, left, picture.height), _EDGE, 2)
    return picture


def icon() -> Image.Image:
    """Of the page: a seven."""
    picture = Image.new("RGB", (64, 64), _DARK)
    ImageDraw.Draw(picture).line(((16, 16), (46, 16), (28, 50)), "white", 7, joint="curve")
    return picture


def sketch(drawn: np.ndarray, spec: Spec) -> np.ndarray:
    """A drawing as the model takes it: each pixel the mean of the k x k that were drawn on.

    Args:
        drawn: k H, k W, 4, uint8: a light pen on nothing.

    Returns:
        H W, uint8, ink on 0.
    """
    ink = drawn[..., 3].astype(np.float64) * drawn[..., :3].max(-1) / 255
    rows, cols = ink.shape[0] // spec.height, ink.shape[1] // spec.width
    blocks = ink.reshape(spec.height, rows, spec.width, cols)
    return blocks.mean((1, 3)).round().astype(np.uint8)


def held(image: np.ndarray, spec: Spec) -> np.ndarray:
    """A scene in the middle of a canvas that is as large or larger; H W."""
    rows, cols = spec.height - image.shape[0], spec.width - image.shape[1]
    return np.pad(image, ((rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2)))
