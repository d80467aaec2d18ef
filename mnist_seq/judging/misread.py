"""Which digits of the data set are misread, and how often: errors of a reader, or of those who wrote the labels.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

from mnist_seq.judging.judgement import Readings
from mnist_seq.judging.verdicts import side_by_side
from mnist_seq.tokens import DIGITS


class Misread(NamedTuple):
    """A digit of the data set."""

    source: int
    """Its place there."""
    truth: int
    """Its label."""
    read: int
    """What it was most often taken for."""
    wrong: int
    """Times that it was misread."""
    shown: int
    """Times that it was there to be read."""


def misread(readings: Readings) -> list[Misread]:
    """Digits that were misread at their place, the most often first; of readings with as many digits as there are.

    Raises:
        ValueError: no order counts, so no digit has a place.
    """
    if not readings.ordered:
        raise ValueError("scenes without an order do not tell which digit was misread")
    there = readings.digits < DIGITS
    read = side_by_side(readings.readout, readings.digits)[0][:, : there.shape[1]]
    counted = ((readings.readout.digits < DIGITS).sum(1) == there.sum(1))[:, None] & there
    columns = (each[counted].tolist() for each in (readings.sources, readings.digits, read))
    shown: Counter[int] = Counter()
    taken: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for source, truth, found in zip(*columns, strict=True):
        shown[source] += 1
        if found != truth:
            taken[source, truth][found] += 1
    rows = [
        Misread(source, truth, found.most_common(1)[0][0], found.total(), shown[source])
        for (source, truth), found in taken.items()
    ]
    return sorted(rows, key=lambda it: (-it.wrong, -it.wrong / it.shown, it.source))
