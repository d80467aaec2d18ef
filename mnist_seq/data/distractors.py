"""Distractors: pieces of digits beneath the digits of a scene.

Shapes   B scenes   D distractors per scene   M all of them   S side of a digit's frame
"""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.data import rng
from mnist_seq.data.compositing import flat_pixel_indices, into_slots
from mnist_seq.data.digits import Pool
from mnist_seq.data.layout_types import Distractors
from mnist_seq.data.marks import AugmentFn

DISTRACTOR_SIZE = 9
"""Side of a distractor, pixels."""


def sample_distractors(ids: Int[Tensor, "B"], num: int, pool: Pool, seed: int) -> Distractors:
    """Cut pieces anywhere from digits of train and val, and put them anywhere on a canvas of 100x100 pixels.

    Args:
        ids: int64.
        num: distractors per scene, D.
    """
    indices = rng.integers(rng.key(seed, pool.split, "fragment"), ids, num, len(pool.clutter))
    crops, corners = (
        rng.integers(rng.key(seed, pool.split, purpose), ids, num * 2, size - DISTRACTOR_SIZE).view(-1, num, 2)
        for purpose, size in (("cut", pool.digit_size), ("fragment place", 100))
    )
    return Distractors(indices, crops, corners, torch.ones_like(indices, dtype=torch.bool))


def no_distractors(ids: Int[Tensor, "B"]) -> Distractors:
    """Distractors of scenes without any."""
    empty, empty_pairs = ids.new_empty(len(ids), 0), ids.new_empty(len(ids), 0, 2)
    return Distractors(empty, empty_pairs, empty_pairs, empty.bool())


def paste_distractors(
    distractors: Distractors, pool: Pool, augment_fn: AugmentFn, spec: Spec
) -> UInt8[Tensor, "B {spec.height} {spec.width}"]:
    """Cut distractors out of augmented digits, and paste them over each other on each canvas.

    Args:
        augment_fn: of images, M S S, their boxes, the slots that hold them, and the name of a random stream.
    """
    indices, present = distractors.indices, distractors.present
    images = augment_fn(pool.clutter.index_select(0, indices[present]), None, present, "fragments")
    size = (DISTRACTOR_SIZE, DISTRACTOR_SIZE)
    crops = flat_pixel_indices(distractors.crops, size, images.shape[-1])
    pieces = into_slots(images.flatten(1), present).gather(2, crops)
    num_pixels = spec.height * spec.width
    targets = flat_pixel_indices(distractors.corners, size, spec.width)
    targets = targets.masked_fill(~present[..., None], num_pixels)  # absent ones go to a pixel to discard
    canvas = torch.zeros(len(indices), num_pixels + 1, dtype=torch.uint8, device=indices.device)
    for index in range(indices.shape[1]):
        canvas.scatter_(1, targets[:, index], pieces[:, index])
    return canvas[:, :-1].view(-1, spec.height, spec.width)
