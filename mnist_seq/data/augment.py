"""Batched distortions of single digits, another one for each, that keep the ink inside the frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.config import AugmentConfig

DRAWS = 5
"""Uniform numbers that a distortion uses."""


def distort(glyphs: Tensor, boxes: Tensor, draws: Tensor, config: AugmentConfig) -> Tensor:
    """Rotate, shear, scale and shift each digit about the centre of its frame, bilinearly.

    What would carry ink over the edge is held back: a shift is cut short, and a digit that grew too large for its frame
    is scaled down to fit.

    Args:
        glyphs: M S S, uint8.
        boxes: M 4, the ink's x0 y0 x1 y1 in pixels, half open.
        draws: M DRAWS, uniform in [0, 1).

    Returns:
        M S S, uint8.
    """
    return warp(glyphs, *placement(boxes, draws, config, glyphs.shape[-1]))


def placement(boxes: Tensor, draws: Tensor, config: AugmentConfig, side: int) -> tuple[Tensor, Tensor]:
    """Where each digit goes: a matrix about the frame's centre, M 2 2, and a shift in pixels, M 2; x before y."""
    angle, growth, slant, *shift = (2 * draws - 1).unbind(-1)
    angle, slant = angle * math.radians(config.rotation), torch.tan(slant * math.radians(config.shear))
    scale = 1 + growth * config.scale
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    forward = torch.stack([cosine, cosine * slant - sine, sine, sine * slant + cosine], -1).unflatten(-1, (2, 2))

    low, high = _extent(forward, boxes, side)
    fit = (side / (high - low).amax(-1)).clamp(max=1)
    forward, low, high = forward * fit[:, None, None], low * fit[:, None], high * fit[:, None]
    wanted = torch.stack(shift, -1) * config.shift
    return forward, torch.maximum(torch.minimum(wanted, side / 2 - high), -side / 2 - low)


def warp(glyphs: Tensor, forward: Tensor, shift: Tensor) -> Tensor:
    """Each image under its own affine map about its centre, sampled bilinearly; M S S, uint8."""
    side = glyphs.shape[-1]
    backward = torch.linalg.inv(forward)
    offset = -backward @ shift[..., None] * (2 / side)
    grid = F.affine_grid(torch.cat([backward, offset], -1), [len(glyphs), 1, side, side], align_corners=False)
    seen = F.grid_sample(glyphs[:, None].float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return seen[:, 0].round().to(torch.uint8)


def _extent(forward: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Least and largest x y that a box's corners reach, pixels from the frame's centre; M 2 each."""
    spread = 0.5  # a bilinear sample carries a pixel's ink half a pixel past its edge
    x0, y0, x1, y1 = (boxes.float() - side / 2).unbind(-1)
    x0, y0, x1, y1 = x0 - spread, y0 - spread, x1 + spread, y1 + spread
    corners = torch.stack([torch.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], -1)
    reached = forward @ corners
    return reached.amin(-1), reached.amax(-1)
