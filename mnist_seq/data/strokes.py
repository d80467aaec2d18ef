"""Strokes of a pen, straight or curved, with antialiased edges.

Shapes   V strokes   K points of a curve   S side of an image
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnist_seq.data import rng

_PIECES = 4
"""Straight strokes that a curve has between two of its points."""


def draw_strokes(ends: Float[Tensor, "V 4"], widths: Float[Tensor, "V"], size: int) -> Float[Tensor, "V {size} {size}"]:
    """Draw one stroke with round ends on each image: ink 1 on a background of 0.

    Args:
        ends: x0 y0 x1 y1, pixels from the upper left corner.
        widths: of the strokes, pixels.
        size: side of the images, pixels.
    """
    start, end = ends[:, None, None, :2], ends[:, None, None, 2:]
    centres = torch.arange(size) + 0.5
    point = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)
    along = end - start
    position = ((point - start) * along).sum(-1, keepdim=True) / (along**2).sum(-1, keepdim=True).clamp(min=1e-6)
    distance = (point - start - position.clamp(0, 1) * along).norm(dim=-1)
    return (widths[:, None, None] / 2 + 0.5 - distance).clamp(0, 1)


def draw_lines(
    points: Float[Tensor, "V K 2"], widths: Float[Tensor, "V"], size: int
) -> Float[Tensor, "V {size} {size}"]:
    """Draw one line of straight strokes, from point to point, on each image: ink 1 on a background of 0.

    Args:
        points: x y, pixels from the upper left corner.
        widths: of the lines, pixels.
        size: side of the images, pixels.
    """
    images = points.new_zeros(len(points), size, size)
    for start, end in pairwise(points.unbind(1)):
        images = images.maximum(draw_strokes(torch.cat([start, end], 1), widths, size))
    return images


def draw_curves(
    points: Float[Tensor, "V K 2"], widths: Float[Tensor, "V"], size: int
) -> Float[Tensor, "V {size} {size}"]:
    """Draw one smooth curve (a Catmull-Rom spline) on each image: ink 1 on a background of 0.

    Args:
        points: at least two points of each curve, in order: x y, pixels from the upper left corner.
        widths: of the curves, pixels.
        size: side of the images, pixels.
    """
    first, last = 2 * points[:, :1] - points[:, 1:2], 2 * points[:, -1:] - points[:, -2:-1]
    a, b, c, d = torch.cat([first, points, last], 1).unfold(1, 4, 1).unbind(-1)  # from b to c
    fractions = torch.arange(_PIECES)[:, None, None, None] / _PIECES
    curve = b + fractions / 2 * (c - a + fractions * (2 * a - 5 * b + 4 * c - d + fractions * (3 * b - a - 3 * c + d)))
    return draw_lines(torch.cat([curve.permute(1, 2, 0, 3).flatten(1, 2), points[:, -1:]], 1), widths, size)


def sample_between(
    stream: str, purpose: str, ids: Int[Tensor, "V"], slots: int, bounds: tuple[float, float]
) -> Float[Tensor, "V {slots}"]:
    """Draw uniform numbers between bounds for each image, the same in every run."""
    low, high = bounds
    return low + (high - low) * rng.uniform(rng.key(0, stream, purpose), ids, slots)
