"""Pictures onto canvases, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def paste(images: Tensor, corners: Tensor, height: int, width: int, bleed: int = 0) -> Tensor:
    """The sum of the pictures on each canvas, at most 255; B H W, uint8.

    Args:
        pictures: B N h w, uint8.
        corners: B N 2, x y of each picture's upper left corner, pixels.
        height, width: of the canvas, pixels.
        overhang: how far a picture may reach beyond the canvas; what does is lost.
    """
    batch, _, *size = images.shape
    rows, cols = height + 2 * bleed, width + 2 * bleed
    pixels = flat_pixel_indices(corners + bleed, size, cols)
    canvas = torch.zeros(batch, rows * cols, dtype=torch.int16, device=images.device)
    canvas.scatter_add_(1, pixels.flatten(1), images.flatten(1).short())
    canvas = canvas.view(batch, rows, cols)[:, bleed : bleed + height, bleed : bleed + width]
    return canvas.clamp(max=255).to(torch.uint8)


def flat_pixel_indices(corners: Tensor, size: Sequence[int], width: int) -> Tensor:
    """Where the pixels of a rectangle lie in a picture that is read row by row; ... height*width of the rectangle.

    Args:
        corners: ... 2, x y of its upper left corner.
        size: its height and width.
        width: of the picture.
    """
    down, right = (torch.arange(extent, device=corners.device) for extent in size)
    return (corners[..., 1] * width + corners[..., 0])[..., None] + (down[:, None] * width + right).flatten()
