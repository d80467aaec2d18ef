"""Corruptions of digits before they are rendered: rotation and stroke width, to measure robustness.

Shapes   P digits of a pool   S side of a digit image
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
        radius = augment.scale_radius(augment.STROKE_RADIUS, images.shape[-1])
        pixels = augment.adjust_stroke_width(images, torch.full((len(images),), float(config.stroke)), radius)
    if config.rotation:
        signs = 1 - 2 * rng.integers(rng.key(0, "disturb", "rotation"), indices, 1, 2)[:, 0]
        angles = signs * math.radians(config.rotation)
        cos, sin = torch.cos(angles), torch.sin(angles)
        matrix = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))
        pixels = augment.affine_warp(pixels, matrix, torch.zeros(len(images), 2))
    return pixels.round().to(torch.uint8)
