"""Pools of single digits: the images, labels and ink boxes that one split may show.

Shapes   P digits of a pool   Q digits that distractors are cut from   S side of a digit image
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

MNIST_SIZE = 28
"""Side of an MNIST image, pixels."""
_RESIZE_BATCH_SIZE = 4096


@dataclass(frozen=True)
class Pool:
    """The digits of one split."""

    split: str
    images: UInt8[Tensor, "P S S"]
    """Ink on a background of 0."""
    labels: Int[Tensor, "P"]
    source_indices: Int[Tensor, "P"]
    """Index in the source dataset, whose training images come first."""
    boxes: Int[Tensor, "P 4"]
    """Box of the ink, x0 y0 x1 y1 in pixels, half open."""
    clutter: UInt8[Tensor, "Q _ _"]
    """Images that distractors are cut from: those of train and val, whatever the split."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digit_size(self) -> int:
        """Side of a digit image, pixels."""
        return self.images.shape[-1]

    @cached_property
    def by_class(self) -> Int[Tensor, "P"]:
        """Indices into the pool, sorted by class."""
        return self.labels.argsort(stable=True)

    @cached_property
    def class_sizes(self) -> Int[Tensor, "10"]:
        """Number of digits of each class."""
        return torch.bincount(self.labels, minlength=10)

    def to(self, device: torch.device) -> Pool:
        """Copy the pool to a device."""
        tensors = (self.images, self.labels, self.source_indices, self.boxes, self.clutter)
        return Pool(self.split, *(tensor.to(device) for tensor in tensors))

    def resized(self, digit_size: int) -> Pool:
        """Resample the images, bilinearly with antialiasing; `clutter` keeps its size.

        Args:
            digit_size: new side, pixels.
        """
        if digit_size == self.digit_size:
            return self
        size = (digit_size, digit_size)
        batches = [
            F.interpolate(batch[:, None].float(), size=size, mode="bilinear", antialias=True)[:, 0]
            for batch in self.images.split(_RESIZE_BATCH_SIZE)
        ]
        images = torch.cat([batch.round().clamp(0, 255).to(torch.uint8) for batch in batches])
        return replace(self, images=images, boxes=ink_boxes(images))


def enclosing_boxes(boxes: Int[Tensor, "B N 4"], present: Bool[Tensor, "B N"]) -> Int[Tensor, "B 4"]:
    """Compute the smallest box around all present boxes of each scene, x0 y0 x1 y1; zeros where there are none."""
    absent, beyond = ~present[..., None], 2**20
    low = boxes[..., :2].masked_fill(absent, beyond).amin(1)
    high = boxes[..., 2:].masked_fill(absent, -beyond).amax(1)
    return torch.cat([low, high], -1) * present.any(1, keepdim=True)


def clip_boxes(boxes: Int[Tensor, "*B 4"], height: int, width: int) -> Int[Tensor, "*B 4"]:
    """Cut boxes, x0 y0 x1 y1 in pixels, off at the edges of an image."""
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def ink_boxes(digit_images: UInt8[Tensor, "M H W"], background: int = 0) -> Int[Tensor, "M 4"]:
    """Compute the smallest box around all ink of each image: what is lighter than the background.

    Returns:
        x0 y0 x1 y1 in pixels, half open; zeros for an image without ink.
    """
    edges = []
    for has_ink in (digit_images.amax(1) > background, digit_images.amax(2) > background):  # by column, then by row
        first = has_ink.byte().argmax(1)
        last = has_ink.shape[1] - has_ink.flip(1).byte().argmax(1)
        edges.append(torch.stack([first, last], -1) * has_ink.any(1, keepdim=True))
    return torch.stack(edges, -1).flatten(1)
