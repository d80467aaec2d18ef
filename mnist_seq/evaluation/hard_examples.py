"""Which digits of the data set are misread, and how often: errors of a reader, or of those who wrote the labels.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from mnist_seq.evaluation.eval_result import Predictions
from mnist_seq.evaluation.metrics import pad_to_same_length
from mnist_seq.vocabulary import NUM_DIGITS


class HardExample(NamedTuple):
    """A digit of the data set."""

    source_id: int
    """Its place there."""
    label: int
    """Its label."""
    predicted: int
    """What it was most often taken for."""
    num_errors: int
    """Times that it was misread."""
    num_shown: int
    """Times that it was there to be read."""


def find_hard_examples(predictions: Predictions) -> list[HardExample]:
    """Digits that were misread at their place, the most often first; of readings with as many digits as there are.

    Raises:
        ValueError: no order counts, so no digit has a place.
    """
    if not predictions.ordered:
        raise ValueError("scenes without an order do not tell which digit was misread")
    there = predictions.digits < NUM_DIGITS
    read = pad_to_same_length(predictions.output, predictions.digits)[0][:, : there.shape[1]]
    counted = ((predictions.output.digits < NUM_DIGITS).sum(1) == there.sum(1))[:, None] & there
    columns = (each[counted].tolist() for each in (predictions.source_ids, predictions.digits, read))
    shown: Counter[int] = Counter()
    taken: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for source, truth, found in zip(*columns, strict=True):
        shown[source] += 1
        if found != truth:
            taken[source, truth][found] += 1
    rows = [
        HardExample(source, truth, found.most_common(1)[0][0], found.total(), shown[source])
        for (source, truth), found in taken.items()
    ]
    return sorted(rows, key=lambda it: (-it.num_errors, -it.num_errors / it.num_shown, it.source_id))
