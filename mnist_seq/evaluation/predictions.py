"""Predictions of a model and the labels of the same scenes.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mnist_seq.nn.decoding import DecodeOutput

_CHUNK_SIZE = 512
"""Scenes whose boxes are compared at once."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for the first B scenes of a split, with their labels; all tensors on the CPU."""

    split: str
    output: DecodeOutput
    digits: Tensor
    """B N, int64: the labels, PAD after the last digit."""
    boxes: Tensor
    """B N 4, as in `SceneBatch`."""
    source_ids: Tensor
    """B N, as in `SceneBatch`."""
    ordered: bool
    """Whether the order of the digits counts."""
    order_margins: Tensor | None
    """B, pixels by which the reading order is decided; None where it does not depend on pixels."""
    loss: float
    """Mean cross-entropy per target with teacher forcing, nats."""
    writer_ids: Tensor | None = None
    """B, int64: the writer of each image on disk; None where they are unknown, or too few."""
    files: list[str] | None = None
    """The B images on disk, relative to their folder."""

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def shared_ids(self) -> Tensor:
        """What scenes may share: B N source digits, or B 1 writers, negative where there is none."""
        return self.source_ids if self.writer_ids is None else self.writer_ids[:, None]

    @property
    def has_multiple_boxes(self) -> Tensor:
        """B, bool: scenes with at least two known boxes."""
        return ((self.boxes[..., 2:] > self.boxes[..., :2]).all(-1)).sum(1) > 1

    @cached_property
    def max_iou(self) -> Tensor:
        """B: the largest intersection over union of any two boxes of a scene."""
        return max_box_iou(self.boxes)


def max_box_iou(boxes: Tensor) -> Tensor:
    """Compute the largest intersection over union of any two boxes of each scene; B, float64.

    Args:
        boxes: B N 4, x0 y0 x1 y1, half open; an empty slot has no area.
    """
    return torch.cat([_max_box_iou(chunk.double()) for chunk in boxes.split(_CHUNK_SIZE)])


def _max_box_iou(boxes: Tensor) -> Tensor:
    upper = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    lower = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    intersection = (lower - upper).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    union = area[:, :, None] + area[:, None] - intersection
    iou = torch.where(union > 0, intersection / union.clamp(min=1), 0.0)
    return iou.triu(diagonal=1).flatten(1).amax(1)
