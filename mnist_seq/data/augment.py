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
from mnist_seq.data.rng import DigitRng

_REFERENCE_SIZE = 28
"""Side of the frame in whose pixels distortions are given."""
_CONTROL_POINTS = 7
"""Control points of the elastic displacement on each axis: one every quarter of the frame."""
_BLUR_RADIUS = 2
"""How far the blur looks, pixels of a 28x28 frame."""


def augment_digits(digit_images: Tensor, boxes: Tensor, rng: DigitRng, config: AugmentConfig) -> Tensor:
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
    side = digit_images.shape[-1]
    pixels = digit_images.float()
    if config.stroke:
        pixels = adjust_stroke_width(digit_images, (2 * rng.uniform("stroke", 1)[:, 0] - 1) * config.stroke)
        boxes = expand_boxes(boxes, stroke_radius(side), side)
    if config.rotation or config.scale or config.shear or config.shift or config.elastic:
        bent = (
            elastic_displacement(rng.uniform("elastic", 2 * _CONTROL_POINTS**2), side, config.elastic)
            if config.elastic
            else None
        )
        pixels = affine_warp(pixels, *sample_affine(boxes, rng.uniform("distort", 5), config, side, bent), bent)
    if config.blur:
        pixels = gaussian_blur(
            pixels, rng.uniform("blur", 1)[:, 0] * config.blur * side / _REFERENCE_SIZE, blur_radius(side)
        )
    if config.noise:
        pixels = pixels * (1 - rng.bytes("noise", side * side).view_as(pixels) * (config.noise / 256))
    pixels = pixels.round().to(torch.uint8)
    if config.p < 1:
        pixels = torch.where((rng.uniform("clean", 1) < 1 - config.p)[..., None], digit_images, pixels)
    return pixels


def sample_affine(
    boxes: Tensor, uniforms: Tensor, config: AugmentConfig, side: int, displacement: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Where each digit goes: a matrix about the frame's centre, M 2 2, and a shift in pixels, M 2; x before y.

    Args:
        boxes: M 4, of the ink.
        draws: M 5, uniform in [0, 1).
        bent: M 2 S S, the displacements that come before it.
    """
    angle, growth, slant, *shift = (2 * uniforms - 1).unbind(-1)
    angle, slant = angle * math.radians(config.rotation), torch.tan(slant * math.radians(config.shear))
    scale = 1 + growth * config.scale
    cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
    forward = torch.stack([cosine, cosine * slant - sine, sine, sine * slant + cosine], -1).unflatten(-1, (2, 2))

    low, high = _box_extent(forward, boxes, side, displacement)
    middle, room = side / 2, side - 2 * (blur_radius(side) if config.blur else 0)
    fit = (room / (high - low).amax(-1)).clamp(max=1)
    forward, low, high = forward * fit[:, None, None], low * fit[:, None], high * fit[:, None]
    wanted = torch.stack(shift, -1) * (config.shift * side / _REFERENCE_SIZE)
    edge = middle - (side - room) / 2
    return forward, torch.maximum(torch.minimum(wanted, edge - high), -edge - low)


def affine_warp(pixels: Tensor, matrix: Tensor, shift: Tensor, displacement: Tensor | None = None) -> Tensor:
    """Each image bent and then under its own affine map about its centre, sampled bilinearly; M S S, float."""
    side = pixels.shape[-1]
    backward = torch.linalg.inv(matrix)
    offset = -backward @ shift[..., None] * (2 / side)
    at = (2 * torch.arange(side, device=pixels.device) + 1) / side - 1  # pixels' centres, the frame from -1 to 1
    across, down = backward[..., :1] * at, backward[..., 1:] * at + offset  # M 2 S: what x and y of a pixel add
    grid = across[:, :, None] + down[..., None]  # F.affine_grid takes ten times as long on a CPU
    if displacement is not None:
        grid = grid + displacement * (2 / side)
    seen = F.grid_sample(
        pixels[:, None].float(), grid.movedim(1, -1), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return seen[:, 0]


def elastic_displacement(uniforms: Tensor, side: int, max_displacement: float) -> Tensor:
    """Smooth random displacements, x and y of each pixel; M 2 S S, pixels (after Simard, Steinkraus & Platt 2003).

    Cubic B-splines over control points that are uniform in +- the bound: their mean is smooth, and never beyond it.

    Args:
        draws: M 2*K*K, uniform in [0, 1).
        bound: pixels of a 28x28 frame.
    """
    splines = _bspline_weights(side).to(uniforms.device)
    control = (2 * uniforms - 1).view(-1, 2, _CONTROL_POINTS, _CONTROL_POINTS) * (
        max_displacement * side / _REFERENCE_SIZE
    )
    return splines @ control @ splines.mT


def adjust_stroke_width(digit_images: Tensor, amount: Tensor) -> Tensor:
    """Thicker strokes where the amount is above 0, thinner where it is below; M S S, float.

    A share of the way to the grey-scale dilation or erosion by a pixel and its four neighbours.

    Args:
        glyphs: M S S, uint8.
        amount: M, from -1 to 1.
    """
    thick, inverse = digit_images, 255 - digit_images
    for _ in range(stroke_radius(digit_images.shape[-1])):
        thick, inverse = _dilate(thick), _dilate(inverse)
    share = amount[:, None, None]
    pixels = digit_images.float()
    return torch.where(share > 0, pixels.lerp(thick.float(), share), pixels.lerp(255 - inverse.float(), -share))


def gaussian_blur(pixels: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Each image under a Gaussian of its own; M S S, float.

    Args:
        deviation: M, pixels.
        within: where the Gaussian is cut off, pixels.
    """
    side = pixels.shape[-1]
    taps = torch.arange(-radius, radius + 1, device=pixels.device)
    weights = torch.softmax(-(taps**2) / (2 * sigma.clamp(min=1e-3)[:, None] ** 2), -1)
    place = torch.arange(side, device=pixels.device)
    tap = place - place[:, None] + radius
    near = (tap >= 0) & (tap < len(taps))
    band = weights[:, tap.clamp(0, len(taps) - 1)] * near
    return band @ pixels @ band


def expand_boxes(boxes: Tensor, margin: int, side: int) -> Tensor:
    """Boxes, M 4, larger by so many pixels on every side, within the frame."""
    return (boxes + boxes.new_tensor([-margin, -margin, margin, margin])).clamp(0, side)


def stroke_radius(side: int) -> int:
    """What a pixel of a 28x28 frame's stroke is in a frame of this side, pixels."""
    return max(1, round(side / _REFERENCE_SIZE))


def blur_radius(side: int) -> int:
    """How far the blur carries ink, pixels."""
    return max(1, round(_BLUR_RADIUS * side / _REFERENCE_SIZE))


def _dilate(glyphs: Tensor) -> Tensor:
    """The largest grey level of each pixel and its four neighbours."""
    thick = glyphs.clone()
    thick[:, 1:] = torch.maximum(thick[:, 1:], glyphs[:, :-1])
    thick[:, :-1] = torch.maximum(thick[:, :-1], glyphs[:, 1:])
    thick[:, :, 1:] = torch.maximum(thick[:, :, 1:], glyphs[:, :, :-1])
    thick[:, :, :-1] = torch.maximum(thick[:, :, :-1], glyphs[:, :, 1:])
    return thick


@cache
def _bspline_weights(side: int) -> Tensor:
    """The weight of each control point at each pixel, each row a mean; S K."""
    at = (torch.arange(side) + 0.5) * (_CONTROL_POINTS - 3) / side
    apart = (at[:, None] - (torch.arange(_CONTROL_POINTS) - 1)).abs()
    near = 2 / 3 - apart**2 + apart**3 / 2
    return torch.where(apart < 1, near, (2 - apart).clamp(min=0) ** 3 / 6)


def _box_extent(forward: Tensor, boxes: Tensor, side: int, bent: Tensor | None) -> tuple[Tensor, Tensor]:
    """Least and largest x y that a box's corners reach, pixels from the frame's centre; M 2 each."""
    x0, y0, x1, y1 = (boxes.float() - side / 2).unbind(-1)
    # A bilinear sample carries a pixel's ink half a pixel past its edge; bending carries it as far as it goes.
    spread = torch.full_like(x0, 0.5) if bent is None else 0.5 + bent.flatten(1).abs().amax(1)
    x0, y0, x1, y1 = x0 - spread, y0 - spread, x1 + spread, y1 + spread
    corners = torch.stack([torch.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], -1)
    reached = forward @ corners
    return reached.amin(-1), reached.amax(-1)
