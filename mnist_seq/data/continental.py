"""Ones with an upstroke and sevens with a crossbar, as they are written in continental Europe and Latin America.

MNIST was written in the United States and has few of them.

Shapes   P digits of a pool   S side of a digit image
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mnist_seq.data import rng
from mnist_seq.data.digits import MNIST_SIZE, Pool, ink_boxes
from mnist_seq.data.strokes import draw_strokes

_LENGTHS = (5.0, 11.0)
"""Range of the lengths of both strokes, pixels of a 28x28 frame."""
_WIDTHS = (1.6, 3.2)
"""Range of their widths, pixels of a 28x28 frame."""
_UPSTROKE_ANGLES, _CROSSBAR_ANGLES = (25.0, 65.0), (-15.0, 15.0)
"""Ranges of the angles to the horizontal, degrees; an upstroke falls from the top of the one to the left."""


def add_continental_strokes(pool: Pool, share: float) -> Pool:
    """Add an upstroke to this share of a pool's ones, and a crossbar to this share of its sevens.

    An image gets its stroke always or never, whatever the scene: this is a function of its index in the source.
    """
    if share == 0:
        return pool
    images = pool.images.clone()
    for label, add in ((1, _upstrokes), (7, _crossbars)):
        (indices,) = ((pool.labels == label) & (_draw("chosen", pool.source_indices, (0.0, 1.0)) < share)).nonzero(
            as_tuple=True
        )
        ends, widths = add(images[indices], pool.source_indices[indices])
        drawn = (255 * draw_strokes(ends, widths, images.shape[-1])).round().to(torch.uint8)
        images[indices] = images[indices].maximum(drawn)
    return replace(pool, images=images, boxes=ink_boxes(images))


def _upstrokes(images: UInt8[Tensor, "P S S"], ids: Int[Tensor, "P"]) -> tuple[Tensor, Tensor]:
    """Return the ends and widths of strokes that fall to the left from where the ink of each image begins."""
    scale, top = images.shape[-1] / MNIST_SIZE, ink_boxes(images)[:, 1] + 1
    x = _ink_centre(images, top)
    length, angle, width = _stroke(ids, scale, _UPSTROKE_ANGLES)
    return torch.stack([x - length * angle.cos(), top + length * angle.sin(), x, top.float()], 1), width


def _crossbars(images: UInt8[Tensor, "P S S"], ids: Int[Tensor, "P"]) -> tuple[Tensor, Tensor]:
    """Return the ends and widths of strokes across the lower stem of each image."""
    scale, boxes = images.shape[-1] / MNIST_SIZE, ink_boxes(images)
    y = (0.45 * boxes[:, 1] + 0.55 * boxes[:, 3]).long()
    x = _ink_centre(images, y)
    length, angle, width = _stroke(ids, scale, _CROSSBAR_ANGLES)
    dx, dy = length * angle.cos() / 2, length * angle.sin() / 2
    return torch.stack([x - dx, y + dy, x + dx, y - dy], 1), width


def _ink_centre(images: UInt8[Tensor, "P S S"], rows: Int[Tensor, "P"]) -> Float[Tensor, "P"]:
    """Return the mean x of the ink in one row of each image, pixels."""
    ink = images[torch.arange(len(images)), rows.clamp(0, images.shape[-1] - 1)].float()
    centres = torch.arange(images.shape[-1]) + 0.5
    return (ink * centres).sum(1) / ink.sum(1).clamp(min=1)


def _stroke(ids: Int[Tensor, "P"], scale: float, angles: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the length, the angle in radians, and the width of each stroke."""
    angle = _draw("angle", ids, angles) * (math.pi / 180)
    return _draw("length", ids, _LENGTHS) * scale, angle, _draw("width", ids, _WIDTHS) * scale


def _draw(purpose: str, ids: Int[Tensor, "P"], bounds: tuple[float, float]) -> Float[Tensor, "P"]:
    """Draw a number between bounds for each digit."""
    low, high = bounds
    return low + (high - low) * rng.uniform(rng.key(0, "continental", purpose), ids, 1)[:, 0]
