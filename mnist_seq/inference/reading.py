"""What a model reads: the digits of an image, row by row, with probabilities.

Shapes   B images   T longest sequence
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import NUM_DIGITS

Box = tuple[float, float, float, float]
"""x0 y0 x1 y1, pixels of the image."""
Point = tuple[float, float]
"""x y, pixels of the image."""


@dataclass(frozen=True)
class Reading:
    """The digits of one image, with probabilities."""

    digits: list[int]
    confidence: float
    """Probability that the whole sequence is right, its end included; of all rows, if there are several. It is
    calibrated on labelled pictures where the model's card says so."""
    per_digit: list[float]
    """Probability of each digit, given the previous ones of its row."""
    cells: list[int | None] | None = None
    """Digit of each cell of the canvas in raster order, if the model's output type is `cells`."""
    alternatives: list[Reading] = field(default_factory=list)
    """The other beams, most probable first, if `num_beams` is above 1."""
    blank: bool = False
    """No ink was found: no digits, confidence 1."""
    box: Box | None = None
    """The part of the image that the model saw; it may extend beyond the image. None for several rows."""
    warning: str = ""
    """Why the digits cannot be right, whatever the confidence; empty if no problem was found."""
    positions: list[Point] = field(default_factory=list)
    """Centre of each digit, if `locate=True` asked for it."""
    rows: list[Reading] = field(default_factory=list)
    """The reading of each row from top to bottom, if the image has several and the model reads rows."""

    def scaled(self, factor: float) -> Reading:
        """Return the reading of an image that is larger by a factor along both axes."""
        x0, y0, x1, y1 = self.box or (0, 0, 0, 0)
        return replace(
            self,
            box=self.box and (factor * x0, factor * y0, factor * x1, factor * y1),
            positions=[(factor * x, factor * y) for x, y in self.positions],
            rows=[row.scaled(factor) for row in self.rows],
        )

    def __str__(self) -> str:
        rows = [" ".join(map(str, row.digits)) for row in self.rows or [self]]
        return " / ".join(row for row in rows if row) or "no digits"


def to_readings(output: DecodeOutput) -> list[Reading]:
    """Convert the decoded outputs of B images."""
    cells = [None] * len(output.digits) if output.cells is None else output.cells.tolist()
    readings = []
    for digits, probs, confidence, classes in zip(
        output.digits.tolist(), output.probs.tolist(), output.confidence.tolist(), cells, strict=True
    ):
        length = sum(digit < NUM_DIGITS for digit in digits)
        cell_digits = classes and [digit if digit < NUM_DIGITS else None for digit in classes]
        readings.append(Reading(digits[:length], confidence, probs[:length], cell_digits))
    return readings


def join_rows(rows: Sequence[Reading]) -> Reading:
    """Join the readings of an image's rows into one; its alternatives are the most probable combinations of theirs."""
    if len(rows) == 1:
        return rows[0]
    num_beams = max(1 + len(row.alternatives) for row in rows)
    combinations: list[list[Reading]] = [[]]
    for row in rows:
        extended = [[*before, choice] for before in combinations for choice in (row, *row.alternatives)]
        combinations = sorted(extended, key=_confidence, reverse=True)[:num_beams]
    best, *others = [_concatenate(combination) for combination in combinations]
    warning = "; ".join(f"row {number}: {row.warning}" for number, row in enumerate(rows, 1) if row.warning)
    return replace(best, alternatives=others, blank=all(row.blank for row in rows), warning=warning, rows=list(rows))


def _confidence(rows: Sequence[Reading]) -> float:
    return math.prod(row.confidence for row in rows)


def _concatenate(rows: Sequence[Reading]) -> Reading:
    digits, per_digit, positions = (
        [value for row in rows for value in getattr(row, key)] for key in ("digits", "per_digit", "positions")
    )
    located = len(positions) == len(digits)  # alternatives are not located
    return Reading(digits, _confidence(rows), per_digit, positions=positions if located else [])
