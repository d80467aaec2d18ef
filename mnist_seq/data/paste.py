"""Pictures onto canvases, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def paste(pictures: Tensor, corners: Tensor, height: int, width: int, overhang: int = 0) -> Tensor:
    """The sum of the pictures on each canvas, at most 255; B H W, uint8.

    Args:
        pictures: B N h w, uint8.
        corners: B N 2, x y of each picture's upper left corner, pixels.
        height, width: of the canvas, pixels.
        overhang: how far a picture may reach beyond the canvas; what does is lost.
    """
    batch, _, *size = pictures.shape
    rows, cols = height + 2 * overhang, width + 2 * overhang
    pixels = pixels_at(corners + overhang, size, cols)
    canvas = torch.zeros(batch, rows * cols, dtype=torch.int16, device=pictures.device)
    canvas.scatter_add_(1, pixels.flatten(1), pictures.flatten(1).short())
    canvas = canvas.view(batch, rows, cols)[:, overhang : overhang + height, overhang : overhang + width]
    return canvas.clamp(max=255).to(torch.uint8)


def pixels_at(corners: Tensor, size: Sequence[int], width: int) -> Tensor:
    """Where the pixels of a rectangle lie in a picture that is read row by row; ... height*width of the rectangle.

    Args:
        corners: ... 2, x y of its upper left corner.
        size: its height and width.
        width: of the picture.
    """
    down, right = (torch.arange(extent, device=corners.device) for extent in size)
    return (corners[..., 1] * width + corners[..., 0])[..., None] + (down[:, None] * width + right).flatten()
