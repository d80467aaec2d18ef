"""Batched distortions of single digits, another one for each, that keep the ink inside the frame.

Shapes   M digits   S side of a frame   K control points a side
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.config import AugmentConfig
from mnist_seq.data.rng import Draws

_FRAME = 28
"""Side of the frame in whose pixels distortions are given."""
_CONTROL = 7
"""Control points of the elastic displacement on each axis: one every quarter of the frame."""
_BLUR_REACH = 2
"""How far the blur looks, pixels of a 28x28 frame."""


def distort(glyphs: Tensor, boxes: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """Change the stroke, warp (rotate, shear, scale, shift, bend), blur and fade each digit, but for a share of them.

    What would carry ink over the edge is held back: a shift is cut short, and a digit that grew too large for its frame
    is scaled down to fit.

    Args:
        glyphs: M S S, uint8.
        boxes: M 4, the ink's x0 y0 x1 y1 in pixels, half open.
        draws: of M digits.

    Returns:
        M S S, uint8.
    """
    side = glyphs.shape[-1]
    pixels = glyphs.float()
    if config.stroke:
        pixels = restroke(glyphs, (2 * draws.uniform("stroke", 1)[:, 0] - 1) * config.stroke)
        boxes = grown(boxes, thickness(side), side)
    if config.rotation or config.scale or config.shear or config.shift or config.elastic:
        bent = bend(draws.uniform("elastic", 2 * _CONTROL**2), side, config.elastic) if config.elastic else None
        pixels = warp(pixels, *placement(boxes, draws.uniform("distort", 5), config, side, bent), bent)
    if config.blur:
        pixels = blur(pixels, draws.uniform("blur", 1)[:, 0] * config.blur * side / _FRAME, reach(side))
    if config.noise:
        pixels = pixels * (1 - draws.bytes("noise", side * side).view_as(pixels) * (config.noise / 256))
    pixels = pixels.round().to(torch.uint8)
    if config.clean:
        pixels = torch.where((draws.uniform("clean", 1) < config.clean)[..., None], glyphs, pixels)
    return pixels


def placement(
    boxes: Tensor, draws: Tensor, config: AugmentConfig, side: int, bent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Where each digit goes: a matrix about the frame's centre, M 2 2, and a shift in pixels, M 2; x before y.

    Args:
        boxes: M 4, of the ink.
        draws: M 5, uniform in [0, 1).
        bent: M 2 S S, the displacements that come before it.
    """
    angle, growth, slant, *shift = (2 * draws - 1).unbind(-1)
    angle, slant = angle * math.radians(config.rotation), torch.tan(slant * math.radians(config.shear))
    scale = 1 + growth * config.scale
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    forward = torch.stack([cosine, cosine * slant - sine, sine, sine * slant + cosine], -1).unflatten(-1, (2, 2))

    low, high = _extent(forward, boxes, side, bent)
    middle, room = side / 2, side - 2 * (reach(side) if config.blur else 0)
    fit = (room / (high - low).amax(-1)).clamp(max=1)
    forward, low, high = forward * fit[:, None, None], low * fit[:, None], high * fit[:, None]
    wanted = torch.stack(shift, -1) * (config.shift * side / _FRAME)
    edge = middle - (side - room) / 2
    return forward, torch.maximum(torch.minimum(wanted, edge - high), -edge - low)


def warp(pixels: Tensor, forward: Tensor, shift: Tensor, bent: Tensor | None = None) -> Tensor:
    """Each image bent and then under its own affine map about its centre, sampled bilinearly; M S S, float."""
    side = pixels.shape[-1]
    backward = torch.linalg.inv(forward)
    offset = -backward @ shift[..., None] * (2 / side)
    at = (2 * torch.arange(side, device=pixels.device) + 1) / side - 1  # pixels' centres, the frame from -1 to 1
    across, down = backward[..., :1] * at, backward[..., 1:] * at + offset  # M 2 S: what x and y of a pixel add
    grid = across[:, :, None] + down[..., None]  # F.affine_grid takes ten times as long on a CPU
    if bent is not None:
        grid = grid + bent * (2 / side)
    seen = F.grid_sample(
        pixels[:, None].float(), grid.movedim(1, -1), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return seen[:, 0]


def bend(draws: Tensor, side: int, bound: float) -> Tensor:
    """Smooth random displacements, x and y of each pixel; M 2 S S, pixels (after Simard, Steinkraus & Platt 2003).

    Cubic B-splines over control points that are uniform in +- the bound: their mean is smooth, and never beyond it.

    Args:
        draws: M 2*K*K, uniform in [0, 1).
        bound: pixels of a 28x28 frame.
    """
    splines = _splines(side).to(draws.device)
    control = (2 * draws - 1).view(-1, 2, _CONTROL, _CONTROL) * (bound * side / _FRAME)
    return splines @ control @ splines.mT


def restroke(glyphs: Tensor, amount: Tensor) -> Tensor:
    """Thicker strokes where the amount is above 0, thinner where it is below; M S S, float.

    A share of the way to the grey-scale dilation or erosion by a pixel and its four neighbours.

    Args:
        glyphs: M S S, uint8.
        amount: M, from -1 to 1.
    """
    thick, inverse = glyphs, 255 - glyphs
    for _ in range(thickness(glyphs.shape[-1])):
        thick, inverse = _dilated(thick), _dilated(inverse)
    share = amount[:, None, None]
    pixels = glyphs.float()
    return torch.where(share > 0, pixels.lerp(thick.float(), share), pixels.lerp(255 - inverse.float(), -share))


def blur(pixels: Tensor, deviation: Tensor, within: int) -> Tensor:
    """Each image under a Gaussian of its own; M S S, float.

    Args:
        deviation: M, pixels.
        within: where the Gaussian is cut off, pixels.
    """
    side = pixels.shape[-1]
    taps = torch.arange(-within, within + 1, device=pixels.device)
    weights = torch.softmax(-(taps**2) / (2 * deviation.clamp(min=1e-3)[:, None] ** 2), -1)
    place = torch.arange(side, device=pixels.device)
    tap = place - place[:, None] + within
    near = (tap >= 0) & (tap < len(taps))
    band = weights[:, tap.clamp(0, len(taps) - 1)] * near
    return band @ pixels @ band


def grown(boxes: Tensor, by: int, side: int) -> Tensor:
    """Boxes, M 4, larger by so many pixels on every side, within the frame."""
    return (boxes + boxes.new_tensor([-by, -by, by, by])).clamp(0, side)


def thickness(side: int) -> int:
    """What a pixel of a 28x28 frame's stroke is in a frame of this side, pixels."""
    return max(1, round(side / _FRAME))


def reach(side: int) -> int:
    """How far the blur carries ink, pixels."""
    return max(1, round(_BLUR_REACH * side / _FRAME))


def _dilated(glyphs: Tensor) -> Tensor:
    """The largest grey level of each pixel and its four neighbours."""
    thick = glyphs.clone()
    thick[:, 1:] = torch.maximum(thick[:, 1:], glyphs[:, :-1])
    thick[:, :-1] = torch.maximum(thick[:, :-1], glyphs[:, 1:])
    thick[:, :, 1:] = torch.maximum(thick[:, :, 1:], glyphs[:, :, :-1])
    thick[:, :, :-1] = torch.maximum(thick[:, :, :-1], glyphs[:, :, 1:])
    return thick


@cache
def _splines(side: int) -> Tensor:
    """The weight of each control point at each pixel, each row a mean; S K."""
    at = (torch.arange(side) + 0.5) * (_CONTROL - 3) / side
    apart = (at[:, None] - (torch.arange(_CONTROL) - 1)).abs()
    near = 2 / 3 - apart**2 + apart**3 / 2
    return torch.where(apart < 1, near, (2 - apart).clamp(min=0) ** 3 / 6)


def _extent(forward: Tensor, boxes: Tensor, side: int, bent: Tensor | None) -> tuple[Tensor, Tensor]:
    """Least and largest x y that a box's corners reach, pixels from the frame's centre; M 2 each."""
    x0, y0, x1, y1 = (boxes.float() - side / 2).unbind(-1)
    # A bilinear sample carries a pixel's ink half a pixel past its edge; bending carries it as far as it goes.
    spread = torch.full_like(x0, 0.5) if bent is None else 0.5 + bent.flatten(1).abs().amax(1)
    x0, y0, x1, y1 = x0 - spread, y0 - spread, x1 + spread, y1 + spread
    corners = torch.stack([torch.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], -1)
    reached = forward @ corners
    return reached.amin(-1), reached.amax(-1)
