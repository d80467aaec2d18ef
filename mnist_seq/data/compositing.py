"""Paste batches of images onto canvases.

Shapes   B canvases   N images per canvas, or slots   M images in slots   h w size of an image   L any shape
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int, Shaped, UInt8
from torch import Tensor


def paste(
    images: UInt8[Tensor, "B N h w"],
    corners: Int[Tensor, "B N 2"],
    height: int,
    width: int,
    bleed: int = 0,
    take_maximum: bool = False,
) -> UInt8[Tensor, "B {height} {width}"]:
    """Add the images up on each canvas, clipped at 255; or take the maximum at each pixel.

    Args:
        images: ink on a background of 0.
        corners: x y of each image's upper left corner, pixels.
        height: height of the canvas, pixels.
        width: width of the canvas, pixels.
        bleed: how far an image may reach beyond the canvas, pixels; that part of it is lost.
        take_maximum: take the maximum where images overlap, not the sum.
    """
    batch_size, _, *size = images.shape
    rows, cols = height + 2 * bleed, width + 2 * bleed
    indices = flat_pixel_indices(corners + bleed, size, cols)
    canvas = torch.zeros(batch_size, rows * cols, dtype=torch.int16, device=images.device)
    canvas.scatter_reduce_(1, indices.flatten(1), images.flatten(1).short(), "amax" if take_maximum else "sum")
    canvas = canvas.view(batch_size, rows, cols)[:, bleed : bleed + height, bleed : bleed + width]
    return canvas.clamp(max=255).to(torch.uint8)


def into_slots(values: Shaped[Tensor, "M *L"], present: Bool[Tensor, "B N"]) -> Shaped[Tensor, "B N *L"]:
    """Put values into the slots that are present, in order, and zeros into all others."""
    slots = values.new_zeros(*present.shape, *values.shape[1:])
    slots[present] = values
    return slots


def flat_pixel_indices(corners: Int[Tensor, "*L 2"], size: Sequence[int], width: int) -> Int[Tensor, "*L _"]:
    """Compute the indices of a rectangle's pixels in a flattened (row-major) image; the last axis is h * w.

    Args:
        corners: x y of the rectangle's upper left corner, pixels.
        size: height h and width w of the rectangle, pixels.
        width: width of the image, pixels.
    """
    y, x = (torch.arange(length, device=corners.device) for length in size)
    return (corners[..., 1] * width + corners[..., 0])[..., None] + (y[:, None] * width + x).flatten()
