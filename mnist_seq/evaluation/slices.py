"""Slices: the accuracy on scenes, or on digits, that have something in common.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from mnist_seq.evaluation.intervals import Proportion, SharedSources, proportion_with_interval
from mnist_seq.evaluation.metrics import correct_digit_mask
from mnist_seq.evaluation.predictions import Predictions
from mnist_seq.vocabulary import NUM_DIGITS

ORDER_MARGIN_EDGES = (1, 2, 4, 8, 16)
"""Lower ends of the slices by reading-order margin, pixels."""
IOU_EDGES = (0.0, 0.05, 0.1, 0.2)
"""Upper ends of the slices by largest box IoU."""

_SliceCounts = Iterator[tuple[str, Tensor, Tensor]]
"""Name of a slice; B, correct items per scene; B, items per scene."""


class Slice(NamedTuple):
    """A group of scenes or digits, and its accuracy."""

    name: str
    proportion: Proportion


def compute_slices(
    predictions: Predictions, exact_match: Tensor, shared_sources: SharedSources
) -> dict[str, list[Slice]]:
    """Compute the accuracy by sequence length, box overlap, reading-order margin, position and digit class.

    Args:
        predictions: of B scenes.
        exact_match: B, 1 where the prediction is correct, else 0.
        shared_sources: which of the scenes share source digits.

    Returns:
        Criterion -> slices that are not empty; criteria with a single slice are left out.
    """
    counts = {
        "exact match by sequence length": _by_count(predictions, exact_match),
        "exact match by largest box IoU (scenes with several digits)": _by_iou(predictions, exact_match),
        "exact match by reading-order margin, px (scenes with several digits)": _by_order_margin(
            predictions, exact_match
        ),
        "digit accuracy by position": _by_position(predictions),
        "digit accuracy by class": _by_digit(predictions),
    }
    slices = {
        criterion: [
            Slice(name, proportion_with_interval(correct, total, shared_sources))
            for name, correct, total in slice_counts
            if total.any()
        ]
        for criterion, slice_counts in counts.items()
    }
    return {criterion: group for criterion, group in slices.items() if len(group) > 1}


def _by_count(predictions: Predictions, exact_match: Tensor) -> _SliceCounts:
    lengths = (predictions.digits < NUM_DIGITS).sum(1)
    for length in range(predictions.digits.shape[1] + 1):
        yield str(length), exact_match * (lengths == length), (lengths == length).float()


def _by_position(predictions: Predictions) -> _SliceCounts:
    if not predictions.ordered:
        return
    correct, is_digit = correct_digit_mask(predictions.output, predictions.digits), predictions.digits < NUM_DIGITS
    for index in range(is_digit.shape[1]):
        yield f"{index + 1}", correct[:, index].float(), is_digit[:, index].float()


def _by_digit(predictions: Predictions) -> _SliceCounts:
    correct = correct_digit_mask(predictions.output, predictions.digits, predictions.ordered)
    for digit in range(NUM_DIGITS):
        mask = predictions.digits == digit
        yield str(digit), (correct & mask).sum(1).float(), mask.sum(1).float()


def _by_iou(predictions: Predictions, exact_match: Tensor) -> _SliceCounts:
    for low, high in zip((-1.0, *IOU_EDGES), (*IOU_EDGES, 1.0), strict=True):
        mask = predictions.has_multiple_boxes & (predictions.max_iou > low) & (predictions.max_iou <= high)
        name = "none" if high == 0 else f"over {low:g}" if high == 1 else f"up to {high:g}"
        yield name, exact_match * mask, mask.float()


def _by_order_margin(predictions: Predictions, exact_match: Tensor) -> _SliceCounts:
    margins = predictions.order_margins
    if margins is None:
        return
    for low, next_low in zip((0, *ORDER_MARGIN_EDGES), (*ORDER_MARGIN_EDGES, 2**62), strict=True):
        mask = predictions.has_multiple_boxes & (margins >= low) & (margins < next_low)
        if next_low > ORDER_MARGIN_EDGES[-1]:
            name = f"{low} or more"
        else:
            name = str(low) if next_low == low + 1 else f"{low} to {next_low - 1}"
        yield name, exact_match * mask, mask.float()
