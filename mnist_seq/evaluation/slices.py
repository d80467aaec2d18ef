"""Where a reader is good and where not: figures of scenes, or of digits, that have something in common.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mnist_seq.evaluation.intervals import Proportion, SharedSources, proportion_with_interval
from mnist_seq.evaluation.metrics import correct_digit_mask
from mnist_seq.vocabulary import NUM_DIGITS

if TYPE_CHECKING:
    from mnist_seq.evaluation.eval_result import Predictions

ORDER_MARGIN_EDGES = (1, 2, 4, 8, 16)
"""Lower ends of strata of the order's margin, pixels."""
IOU_EDGES = (0.0, 0.05, 0.1, 0.2)
"""Upper ends of strata of the largest intersection over union."""
_CHUNK_SIZE = 512
"""Scenes whose boxes are held against each other at once."""


class Slice(NamedTuple):
    """What some scenes, or digits, have in common, and how well they were read."""

    name: str
    proportion: Proportion


def compute_slices(
    predictions: Predictions, exact_match: Tensor, shared_sources: SharedSources
) -> dict[str, list[Slice]]:
    """By what, and its strata, as far as these scenes differ in it.

    Args:
        exact: B, 1 where a reading is right.
    """
    found = {
        "exact match, by digits in the scene": _by_count(predictions, exact_match),
        "exact match, by overlap of the digits' boxes, where there are several": _by_iou(predictions, exact_match),
        "exact match, by the pixels that decide the order of several": _by_order_margin(predictions, exact_match),
        "digits right, by place in the reading": _by_position(predictions),
        "digits right, by digit": _by_digit(predictions),
    }
    shares = {
        what: [
            Slice(name, proportion_with_interval(right, total, shared_sources))
            for name, right, total in each
            if total.any()
        ]
        for what, each in found.items()
    }
    return {what: each for what, each in shares.items() if len(each) > 1}


_SliceCounts = Iterator[tuple[str, Tensor, Tensor]]
"""Name, how many are right in each scene, out of how many."""


def _by_count(predictions: Predictions, exact_match: Tensor) -> _SliceCounts:
    counts = (predictions.digits < NUM_DIGITS).sum(1)
    for count in range(predictions.digits.shape[1] + 1):
        yield str(count), exact_match * (counts == count), (counts == count).float()


def _by_position(predictions: Predictions) -> _SliceCounts:
    if not predictions.ordered:
        return
    right, there = correct_digit_mask(predictions.output, predictions.digits), predictions.digits < NUM_DIGITS
    for place in range(there.shape[1]):
        yield f"{place + 1}", right[:, place].float(), there[:, place].float()


def _by_digit(predictions: Predictions) -> _SliceCounts:
    right = correct_digit_mask(predictions.output, predictions.digits, predictions.ordered)
    for digit in range(NUM_DIGITS):
        these = predictions.digits == digit
        yield str(digit), (right & these).sum(1).float(), these.sum(1).float()


def _by_iou(predictions: Predictions, exact_match: Tensor) -> _SliceCounts:
    several, most = predictions.has_multiple_boxes, predictions.max_iou
    for least, upto in zip((-1.0, *IOU_EDGES), (*IOU_EDGES, 1.0), strict=True):
        these = several & (most > least) & (most <= upto)
        name = "none" if upto == 0 else f"over {least:g}" if upto == 1 else f"up to {upto:g}"
        yield name, exact_match * these, these.float()


def _by_order_margin(predictions: Predictions, exact_match: Tensor) -> _SliceCounts:
    if predictions.order_margins is None:
        return
    for least, next_ in zip((0, *ORDER_MARGIN_EDGES), (*ORDER_MARGIN_EDGES, 2**62), strict=True):
        these = (
            predictions.has_multiple_boxes & (predictions.order_margins >= least) & (predictions.order_margins < next_)
        )
        if next_ > ORDER_MARGIN_EDGES[-1]:
            name = f"{least} or more"
        else:
            name = str(least) if next_ == least + 1 else f"{least} to {next_ - 1}"
        yield name, exact_match * these, these.float()


def max_box_iou(boxes: Tensor) -> Tensor:
    """The largest intersection over union of any two boxes of each scene; B.

    Args:
        boxes: B N 4, x0 y0 x1 y1, half open; of no extent where there is none.
    """
    return torch.cat([_max_box_iou(some.double()) for some in boxes.split(_CHUNK_SIZE)])


def _max_box_iou(boxes: Tensor) -> Tensor:
    upper = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    lower = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (lower - upper).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    union = area[:, :, None] + area[:, None] - shared
    each = torch.where(union > 0, shared / union.clamp(min=1), 0.0)
    return each.triu(diagonal=1).flatten(1).amax(1)
