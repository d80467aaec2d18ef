"""Slices: the accuracy on scenes, or on digits, that have something in common.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mnist_seq.evaluation.intervals import Proportion, SharedSources, proportion_with_interval
from mnist_seq.evaluation.metrics import correct_digit_mask
from mnist_seq.evaluation.predictions import Predictions
from mnist_seq.vocabulary import NUM_DIGITS

IOU_BINS = {"none": 0, "up to 0.05": 0.05, "up to 0.1": 0.1, "up to 0.2": 0.2, "over 0.2": math.inf}
"""Slices by largest box IoU, and the largest value of each."""
MARGIN_BINS = {"0": 0, "1": 1, "2 to 3": 3, "4 to 7": 7, "8 to 15": 15, "16 or more": math.inf}
"""Slices by reading-order margin, and the largest value of each, pixels."""


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
    digits, is_digit = predictions.digits, predictions.digits < NUM_DIGITS
    lengths, positions = range(digits.shape[1] + 1), torch.arange(digits.shape[1])
    correct = correct_digit_mask(predictions.output, digits, predictions.ordered)
    iou_bins = _bin_ids(predictions, predictions.max_iou, IOU_BINS)
    margin_bins = _bin_ids(predictions, predictions.order_margins, MARGIN_BINS)
    position_bins = torch.where(is_digit, positions, -1) if predictions.ordered else None
    # criterion -> what is correct; index of the slice that it is in, None where that is unknown; names of the slices
    criteria: dict[str, tuple[Tensor, Tensor | None, Iterable[object]]] = {
        "exact match by sequence length": (exact_match, is_digit.sum(1), lengths),
        "exact match by largest box IoU (scenes with several digits)": (exact_match, iou_bins, IOU_BINS),
        "exact match by reading-order margin, px (scenes with several digits)": (exact_match, margin_bins, MARGIN_BINS),
        "digit accuracy by position": (correct, position_bins, lengths[1:]),
        "digit accuracy by class": (correct, digits, range(NUM_DIGITS)),
    }
    slices = {
        criterion: _slices(correct, bin_ids, names, shared_sources)
        for criterion, (correct, bin_ids, names) in criteria.items()
        if bin_ids is not None
    }
    return {criterion: group for criterion, group in slices.items() if len(group) > 1}


def _slices(correct: Tensor, bin_ids: Tensor, names: Iterable[object], shared_sources: SharedSources) -> list[Slice]:
    """Compute the accuracy on each slice: of scenes, `correct` and `bin_ids` are B, or of digits, B N."""
    slices = []
    for index, name in enumerate(names):
        mask = bin_ids == index
        if mask.any():
            num_correct, total = (it.reshape(len(it), -1).sum(1) for it in (correct * mask, mask))
            slices.append(Slice(str(name), proportion_with_interval(num_correct, total, shared_sources)))
    return slices


def _bin_ids(predictions: Predictions, values: Tensor | None, bins: dict[str, float]) -> Tensor | None:
    """Find the first bin whose largest value is not exceeded; B, -1 for scenes without several digits."""
    if values is None:
        return None
    ids = torch.bucketize(values.double(), torch.tensor([*bins.values()], dtype=torch.float64))
    return ids.masked_fill(~predictions.has_multiple_boxes, -1)
