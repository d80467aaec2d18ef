"""Seats for digits on a canvas: places of which any can be taken together, whatever overlap and order margin ask."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Seats:
    """Rows of seats, in corners of a digit's frame; `pitch`, `row_pitch` and the slack left over are what keeps apart.

    Row r holds corners with x = lead * r, plus multiples of `quantum`. For `raster` the canvas is turned: x is y.
    """

    turned: bool
    reach: tuple[int, int]
    """Largest x and y of a corner, pixels (turned where `turned`)."""
    row_pitch: int
    """Least distance from row to row, pixels."""
    jitter: int
    """How far a digit may lie below the top of its row, pixels."""
    quantum: int
    """Step of the x of a row, pixels."""
    lead: int
    """How much further right each row begins than the one above, pixels."""
    pitch: int
    """Least distance from seat to seat in a row, quanta."""
    in_row: tuple[int, ...]
    """Seats of each row."""

    @property
    def total(self) -> int:
        return sum(self.in_row)


def spacing(side: int, bound: float) -> int:
    """The least distance on one axis, none on the other, at which two frames' IoU stays within its bound, pixels."""
    return math.ceil(side * (1 - bound) / (1 + bound) - 1e-9)


def intersection(side: int, bound: float) -> int:
    """The largest intersection of two frames whose IoU stays within its bound, square pixels."""
    return math.floor(2 * side * side * bound / (1 + bound) + 1e-9)


def seats(height: int, width: int, side: int, bound: float, order: str, margin: int) -> Seats:
    """The seats of a canvas: as many as can be had.

    Args:
        side: of a digit's frame, pixels.
        bound: on the IoU of two frames.
        order: reading order, which no move of a digit by less than `margin` pixels may change.
    """
    turned = order == "raster"
    reach = (height - side, width - side) if turned else (width - side, height - side)
    apart = spacing(side, bound)
    by_rows = order == "rows"
    row_pitch = max(apart, -(-side // 2) + margin) if by_rows else apart
    most_rows = 1 + reach[1] // row_pitch if row_pitch else 1
    jitter = (side - max(2 * margin, 1)) // 2 if by_rows else reach[1]
    laid = []
    for rows in range(1, most_rows + 1):
        lead = 0 if by_rows else margin
        quantum = max(1, rows * lead)  # rows keep to x of different remainders by it, so that no two come nearer
        pitch = max(1, -(-max(apart, margin) // quantum))
        rooms = [(reach[0] - row * lead) // quantum for row in range(rows)]
        in_row = tuple(1 + room // pitch if room >= 0 else 0 for room in rooms)
        laid.append(Seats(turned, reach, row_pitch, jitter, quantum, lead, pitch, in_row))
    return max(laid, key=lambda each: (each.total, len(each.in_row)))
