"""Augmentation of digits and of pictures: batched, with separate parameters for each; ink stays within the frame.

Shapes   M digits or pictures   H W frame   K control points per axis
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from mnist_seq.config import AugmentConfig
from mnist_seq.data.digits import clip_boxes
from mnist_seq.data.rng import DigitRng

_REFERENCE_SIZE = 28
"""Size of the frame in whose pixels the config gives its amounts."""
_CONTROL_POINTS = 7
"""K, control points of the elastic displacement per axis: one every quarter of the frame."""
STROKE_RADIUS = 1
"""Radius of the dilation that changes strokes, pixels of a 28x28 frame."""
BLUR_RADIUS = 2
"""Radius of the Gaussian kernel, pixels of a 28x28 frame."""


def augment_images(
    images: UInt8[Tensor, "M H W"], boxes: Int[Tensor, "M 4"], rng: DigitRng, config: AugmentConfig, digit_size: int
) -> UInt8[Tensor, "M H W"]:
    """Change the stroke, warp (rotate, shear, scale, shift, bend), blur and fade images with probability `config.p`.

    Ink stays inside the frame: a shift is cut short, and ink that grew too large is scaled down to fit.

    Args:
        images: ink on a background of 0.
        boxes: box of the ink, x0 y0 x1 y1 in pixels, half open.
        rng: random numbers for M digits.
        digit_size: side of a digit's frame in these images, pixels.
    """
    height, width = images.shape[1:]
    unit = digit_size / _REFERENCE_SIZE
    pixels = images.float()
    if config.stroke:
        amount = (2 * rng.uniform("stroke", 1, config.shared)[:, 0] - 1) * config.stroke
        radius = scale_radius(STROKE_RADIUS, digit_size)
        pixels = adjust_stroke_width(images, amount, radius)
        boxes = expand_boxes(boxes, radius, height, width)
    if config.rotation or config.scale or config.shear or config.shift or config.elastic:
        displacement = (
            elastic_displacement(rng.uniform("elastic", 2 * _CONTROL_POINTS**2), height, width, config.elastic * unit)
            if config.elastic
            else None
        )
        uniforms = rng.uniform("distort", 5, config.shared)
        affine = sample_affine(boxes, uniforms, config, (height, width), digit_size, displacement)
        pixels = affine_warp(pixels, *affine, displacement)
    if config.blur:
        sigma = rng.uniform("blur", 1, config.shared)[:, 0] * config.blur * digit_size / _REFERENCE_SIZE
        pixels = gaussian_blur(pixels, sigma, scale_radius(BLUR_RADIUS, digit_size))
    if config.noise:
        pixels = pixels * (1 - rng.bytes("noise", height * width).view_as(pixels) * (config.noise / 256))
    augmented = pixels.round().to(torch.uint8)
    if config.p < 1:
        augmented = torch.where((rng.uniform("clean", 1) < 1 - config.p)[..., None], images, augmented)
    return augmented


def sample_affine(
    boxes: Int[Tensor, "M 4"],
    uniforms: Float[Tensor, "M 5"],
    config: AugmentConfig,
    size: tuple[int, int],
    digit_size: int,
    displacement: Float[Tensor, "M 2 H W"] | None = None,
) -> tuple[Float[Tensor, "M 2 2"], Float[Tensor, "M 2"]]:
    """Turn random numbers into an affine map per image that keeps its ink inside the frame.

    Args:
        boxes: box of the ink, x0 y0 x1 y1 in pixels, half open.
        uniforms: in [0, 1), for rotation, scale, shear, shift in x and shift in y.
        size: H and W, pixels.
        digit_size: side of a digit's frame, pixels; the unit of the config's amounts is a 28th of it.
        displacement: elastic displacement that is applied before the affine map, x and y in pixels.

    Returns:
        A matrix about the centre of the frame, and a shift in pixels; x before y.
    """
    angle, growth, shear, *shift = (2 * uniforms - 1).unbind(-1)
    angle, shear = angle * math.radians(config.rotation), torch.tan(shear * math.radians(config.shear))
    scale = 1 + growth * config.scale
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    matrix = torch.stack([cos, cos * shear - sin, sin, sin * shear + cos], -1).unflatten(-1, (2, 2))

    frame = matrix.new_tensor([size[1], size[0]])
    low, high = _box_extent(matrix, boxes, frame / 2, displacement)
    inner = frame - 2 * (scale_radius(BLUR_RADIUS, digit_size) if config.blur else 0)
    fit = (inner * (high - low).reciprocal()).amin(-1).clamp(max=1)
    matrix, low, high = matrix * fit[:, None, None], low * fit[:, None], high * fit[:, None]
    shifts = torch.stack(shift, -1) * (config.shift * digit_size / _REFERENCE_SIZE)
    edge = inner / 2
    return matrix, torch.maximum(torch.minimum(shifts, edge - high), -edge - low)


def affine_warp(
    pixels: Shaped[Tensor, "M H W"],
    matrix: Float[Tensor, "M 2 2"],
    shift: Float[Tensor, "M 2"],
    displacement: Float[Tensor, "M 2 H W"] | None = None,
) -> Float[Tensor, "M H W"]:
    """Displace each image and apply its affine map about the centre, sampled bilinearly.

    Args:
        pixels: uint8 or float, on a background of 0.
        matrix: maps input to output, x before y.
        shift: pixels, x before y.
        displacement: x and y for each pixel, pixels.
    """
    height, width = pixels.shape[1:]
    per_pixel = matrix.new_tensor([2 / width, 2 / height])[:, None]  # the frame extends from -1 to 1
    inverse = torch.linalg.inv(matrix)
    offset = -inverse @ shift[..., None] * per_pixel
    x, y = ((2 * torch.arange(size, device=pixels.device) + 1) / size - 1 for size in (width, height))  # of centres
    x_part = inverse[..., :1] * x * (per_pixel / per_pixel[0])  # M 2 W
    y_part = inverse[..., 1:] * y * (per_pixel / per_pixel[1]) + offset  # M 2 H
    grid = x_part[:, :, None] + y_part[..., None]  # F.affine_grid takes ten times as long on a CPU
    if displacement is not None:
        grid = grid + displacement * per_pixel[..., None]
    warped = F.grid_sample(pixels[:, None].float(), grid.movedim(1, -1), align_corners=False)
    return warped[:, 0]


def elastic_displacement(
    uniforms: Float[Tensor, "M _"], height: int, width: int, max_displacement: float
) -> Float[Tensor, "M 2 {height} {width}"]:
    """Compute smooth random displacements, x and y of each pixel (after Simard, Steinkraus & Platt 2003).

    Cubic B-splines over control points that are uniform in [-max, max]: a weighted mean, smooth and never beyond them.

    Args:
        uniforms: in [0, 1); 2 * K * K per image.
        height, width: of the frame, pixels.
        max_displacement: pixels.
    """
    rows, cols = (_bspline_weights(size).to(uniforms.device) for size in (height, width))
    control = (2 * uniforms - 1).view(-1, 2, _CONTROL_POINTS, _CONTROL_POINTS) * max_displacement
    return rows @ control @ cols.mT


def adjust_stroke_width(
    images: UInt8[Tensor, "M H W"], amount: Float[Tensor, "M"], radius: int
) -> Float[Tensor, "M H W"]:
    """Make strokes thicker (amount above 0) or thinner (below 0).

    Interpolates towards the grey-scale dilation or erosion by a pixel and its four neighbours.

    Args:
        images: ink on a background of 0.
        amount: -1 to 1.
        radius: of the dilation or erosion, pixels.
    """
    dilated, inverse = images, 255 - images
    for _ in range(radius):
        dilated, inverse = _dilate(dilated), _dilate(inverse)
    weight = amount[:, None, None]
    pixels = images.float()
    return torch.where(weight > 0, pixels.lerp(dilated.float(), weight), pixels.lerp(255 - inverse.float(), -weight))


def gaussian_blur(pixels: Float[Tensor, "M H W"], sigma: Float[Tensor, "M"], radius: int) -> Float[Tensor, "M H W"]:
    """Blur each image with its own Gaussian.

    Args:
        pixels: on a background of 0.
        sigma: standard deviation, pixels.
        radius: where the kernel is cut off, pixels.
    """
    kernels, bands = gaussian_kernels(sigma, radius), []
    for size in pixels.shape[1:]:
        index = torch.arange(size, device=pixels.device)
        offset = index - index[:, None] + radius
        in_kernel = (offset >= 0) & (offset <= 2 * radius)
        bands.append(kernels[:, offset.clamp(0, 2 * radius)] * in_kernel)
    return bands[0] @ pixels @ bands[1]


def gaussian_kernels(sigma: Float[Tensor, "M"], radius: int) -> Float[Tensor, "M {2*radius+1}"]:
    """Return a Gaussian per standard deviation, in pixels; each sums to 1."""
    offsets = torch.arange(-radius, radius + 1, device=sigma.device)
    return torch.softmax(-(offsets**2) / (2 * sigma.clamp(min=1e-3)[:, None] ** 2), -1)


def expand_boxes(boxes: Int[Tensor, "M 4"], margin: int, height: int, width: int) -> Int[Tensor, "M 4"]:
    """Grow boxes by a margin in pixels on every side, within a frame of this size."""
    return clip_boxes(boxes + boxes.new_tensor([-margin, -margin, margin, margin]), height, width)


def scale_radius(radius: int, size: int) -> int:
    """Scale a radius in pixels of a 28x28 frame to a frame of this size, at least one pixel."""
    return max(1, round(radius * size / _REFERENCE_SIZE))


def _dilate(images: Tensor) -> Tensor:
    """Take the maximum of each pixel and its four neighbours."""
    dilated = images.clone()
    dilated[:, 1:] = torch.maximum(dilated[:, 1:], images[:, :-1])
    dilated[:, :-1] = torch.maximum(dilated[:, :-1], images[:, 1:])
    dilated[:, :, 1:] = torch.maximum(dilated[:, :, 1:], images[:, :, :-1])
    dilated[:, :, :-1] = torch.maximum(dilated[:, :, :-1], images[:, :, 1:])
    return dilated


@cache
def _bspline_weights(size: int) -> Tensor:
    """Return the weight of each control point at each pixel, S K; each row sums to 1."""
    position = (torch.arange(size) + 0.5) * (_CONTROL_POINTS - 3) / size
    distance = (position[:, None] - (torch.arange(_CONTROL_POINTS) - 1)).abs()
    near = 2 / 3 - distance**2 + distance**3 / 2
    return torch.where(distance < 1, near, (2 - distance).clamp(min=0) ** 3 / 6)


def _box_extent(matrix: Tensor, boxes: Tensor, centre: Tensor, displacement: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the least and largest x y of each mapped box, pixels from the centre of the frame; M 2 each."""
    x0, y0, x1, y1 = (boxes.float() - centre.repeat(2)).unbind(-1)
    # A bilinear sample carries ink half a pixel past its pixel's edge, a displacement as far as its largest value.
    spread = torch.full_like(x0, 0.5) if displacement is None else 0.5 + displacement.flatten(1).abs().amax(1)
    x0, y0, x1, y1 = x0 - spread, y0 - spread, x1 + spread, y1 + spread
    corners = torch.stack([torch.stack([x, y], -1) for x in (x0, x1) for y in (y0, y1)], -1)
    mapped = matrix @ corners
    return mapped.amin(-1), mapped.amax(-1)
