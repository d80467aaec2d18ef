"""Augmentation and corruption of whole training pictures, with the same operations as for digits and scenes.

Shapes   B pictures   N longest sequence   H W canvas
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import FolderConfig
from mnist_seq.data import augment
from mnist_seq.data.corruptions import PICTURE_BACKGROUND, corrupt_scenes
from mnist_seq.data.digits import ink_boxes
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.rng import DigitRng


def augment_pictures(
    batch: SceneBatch, ids: Int[Tensor, "B"], config: FolderConfig, seed: int, split: str, digit_size: int
) -> SceneBatch:
    """Augment and corrupt pictures; where they are augmented, the boxes of their digits become unknown.

    Args:
        ids: what random numbers are drawn for; the same picture with another id is changed in another way.
        digit_size: side of a digit's frame, pixels.
    """
    if config.augment.changes_digits:
        pictures = batch.images[:, 0]
        rng = DigitRng(seed, split, ids, stream=("picture",))
        boxes = ink_boxes(pictures, PICTURE_BACKGROUND)
        images = augment.augment_images(pictures, boxes, rng, config.augment, digit_size)
        batch = batch._replace(images=images[:, None], boxes=torch.zeros_like(batch.boxes))
    return corrupt_scenes(batch, ids, config.corruptions, seed, split, digit_size, PICTURE_BACKGROUND)
