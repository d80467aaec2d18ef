"""Straight strokes of a pen with antialiased edges.

Shapes   V strokes   S side of an image
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


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
