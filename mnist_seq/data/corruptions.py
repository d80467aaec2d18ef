"""Corruptions, to test how robust a model is: the same scenes rotated, with other strokes, blurred, noisy or pale.

`rotation` and `stroke` change the digits before rendering, `blur`, `contrast` and `noise` the rendered images.

Shapes   B scenes   H W canvas   P digits of a pool   S side of a digit image
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from mnist_seq.config import CorruptionConfig
from mnist_seq.data import augment, rng
from mnist_seq.data.digits import Pool, ink_boxes

DIGIT_CORRUPTIONS = ("rotation", "stroke")
"""Keys of CorruptionConfig that act on digits; the others act on images."""


def corrupt_pool(pool: Pool, config: CorruptionConfig, include_clutter: bool) -> Pool:
    """Corrupt the digits of a pool.

    Args:
        include_clutter: corrupt what distractors are cut from too, so that strokes do not give the digits away.
    """
    images, clutter = corrupt_digits(pool.images, pool.source_indices, config), pool.clutter
    if include_clutter:
        clutter = corrupt_digits(clutter, torch.arange(len(clutter)), config)
    return replace(pool, images=images, boxes=ink_boxes(images), clutter=clutter)


def corrupt_digits(
    images: UInt8[Tensor, "P S S"], indices: Int[Tensor, "P"], config: CorruptionConfig
) -> UInt8[Tensor, "P S S"]:
    """Change the stroke width of digits, and rotate each by `config.rotation` degrees one way or the other.

    Args:
        images: ink on a background of 0.
        indices: what the direction of each digit's rotation is drawn from.
    """
    pixels = images.float()
    if config.stroke:
        pixels = augment.adjust_stroke_width(images, torch.full((len(images),), float(config.stroke)))
    if config.rotation:
        signs = 1 - 2 * rng.integers(rng.key(0, "disturb", "rotation"), indices, 1, 2)[:, 0]
        angles = signs * math.radians(config.rotation)
        cos, sin = torch.cos(angles), torch.sin(angles)
        matrix = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))
        pixels = augment.affine_warp(pixels, matrix, torch.zeros(len(images), 2))
    return pixels.round().to(torch.uint8)


def corrupt_images(
    images: UInt8[Tensor, "B 1 H W"], ids: Int[Tensor, "B"], config: CorruptionConfig, pixel_scale: float
) -> UInt8[Tensor, "B 1 H W"]:
    """Blur images, reduce their contrast and add noise, in the order in which a lens and a sensor would.

    Args:
        images: ink on a background of 0.
        ids: scene ids, which the noise is drawn from.
        pixel_scale: pixels per pixel of a 28x28 digit, the unit of `config.blur`.
    """
    if not config.non_default.keys() - set(DIGIT_CORRUPTIONS):
        return images
    pixels = images.float()
    if config.blur:
        from torchvision.transforms.functional import gaussian_blur  # here, so that scenes need no torchvision

        sigma = config.blur * pixel_scale
        radius = min(math.ceil(3 * sigma), *(length - 1 for length in images.shape[2:]))
        pixels = gaussian_blur(pixels, 2 * radius + 1, sigma)
    pixels = pixels * config.contrast
    if config.noise:
        uniforms = rng.uniform(rng.key(0, "disturb", "noise"), ids, images[0].numel())
        pixels = pixels + 255 * config.noise * torch.special.ndtri(uniforms + 2**-25).view_as(pixels)
    return pixels.round().clamp(0, 255).to(torch.uint8)
