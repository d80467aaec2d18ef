"""Source digits that are often misread: hard examples, or wrong labels.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from mnist_seq.evaluation.metrics import pad_to_same_length
from mnist_seq.evaluation.predictions import Predictions
from mnist_seq.vocabulary import NUM_DIGITS


class HardExample(NamedTuple):
    """A source digit that was misread at least once."""

    source_id: int
    """Its index in the digit dataset."""
    label: int
    predicted: int
    """The most frequent wrong prediction."""
    num_errors: int
    """How often it was misread."""
    num_shown: int
    """How often it was shown, in scenes whose sequence length was predicted correctly."""


def find_hard_examples(predictions: Predictions) -> list[HardExample]:
    """Find the misread source digits, the most often misread first.

    Digits are compared by position, so only scenes whose sequence length was predicted correctly count.

    Raises:
        ValueError: the predictions are unordered, so that a digit has no position.
    """
    if not predictions.ordered:
        raise ValueError("unordered predictions do not show which digit was misread")
    is_digit = predictions.digits < NUM_DIGITS
    padded_output = pad_to_same_length(predictions.output, predictions.digits)[0][:, : is_digit.shape[1]]
    same_length = (predictions.output.digits < NUM_DIGITS).sum(1) == is_digit.sum(1)
    mask = same_length[:, None] & is_digit
    columns = (tensor[mask].tolist() for tensor in (predictions.source_ids, predictions.digits, padded_output))
    num_shown: Counter[int] = Counter()
    errors: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for source_id, label, predicted in zip(*columns, strict=True):
        num_shown[source_id] += 1
        if predicted != label:
            errors[source_id, label][predicted] += 1
    examples = [
        HardExample(source_id, label, wrong.most_common(1)[0][0], wrong.total(), num_shown[source_id])
        for (source_id, label), wrong in errors.items()
    ]
    return sorted(examples, key=lambda it: (-it.num_errors, -it.num_errors / it.num_shown, it.source_id))
