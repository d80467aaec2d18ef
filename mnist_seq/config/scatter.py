"""Scattered digits: how near they may come, in which order they are read, and where there is always room for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mnist_seq.config.data import CountedConfig, Spec
from mnist_seq.config.law import require, require_known
from mnist_seq.errors import UserError

ORDERS = ("left_to_right", "raster", "rows", "set")


@dataclass
class ScatterConfig(CountedConfig):
    """Digits at random places, so many as a uniform draw says, their frames apart or overlapping within a bound."""

    family: str = "scatter"
    min_digits: int = 0
    overlap: Any = "none"
    """Of any two frames: `none`, a bound on their intersection over union in (0, 1), or `free`."""
    order: str = "rows"
    """How the digits are read: left_to_right, raster, rows or set."""
    order_margin: int = 2
    """Layouts whose rows or order would change if a digit moved by less than this are drawn again, pixels."""
    tries: int = 16
    """Uniform tries a digit before its layout is begun anew."""
    drop: bool = False
    """Leave out a digit that found no place in its tries, instead of drawing again: then counts are not uniform."""

    def __post_init__(self) -> None:
        super().__post_init__()
        numeric = isinstance(self.overlap, (int, float)) and not isinstance(self.overlap, bool)
        require(
            self.overlap in ("none", "free") or (numeric and 0 < self.overlap < 1),
            f"data.overlap={self.overlap} must be none, free, or a bound between 0 and 1",
        )
        require_known("data.order", self.order, ORDERS)
        margin, half = self.order_margin, self.digit_size // 2
        require(0 <= margin <= half, f"data.order_margin={margin} must lie in 0..{half}, half of data.digit_size")
        require(
            margin == 0 or self.order != "set",
            f"data.order_margin={margin} has no meaning with data.order=set: choose data.order_margin=0",
        )
        require(
            margin == 0 or not self.drop,
            f"data.order_margin={margin} cannot be kept with data.drop=true: choose data.order_margin=0",
        )
        require(self.tries >= 1, f"data.tries={self.tries} must be at least 1")
        if not self.drop:
            self._require_room()

    @property
    def bound(self) -> float:
        """On the intersection over union of any two frames."""
        return {"none": 0.0, "free": 1.0}[self.overlap] if isinstance(self.overlap, str) else float(self.overlap)

    @property
    def seats(self) -> Seats:
        """Where digits are put when random tries fail."""
        return self._seats(self.height, self.width)

    @property
    def spec(self) -> Spec:
        ordered = self.order != "set"
        if self.bound == 1:
            return self._shape((0, 0), ordered)
        # Two frames whose corners are nearer than this on both axes overlap too much: no cell of this side holds two.
        side = max(1, self.digit_size - math.isqrt(intersection(self.digit_size, self.bound)))
        return self._shape((-(-self.height // side), -(-self.width // side)), ordered)

    def _seats(self, height: int, width: int) -> Seats:
        return seats(height, width, self.digit_size, self.bound, self.order, self.order_margin)

    def _require_room(self) -> None:
        room = self.seats.total
        if self.max_digits <= room:
            return
        side = max(self.height, self.width)
        while self._seats(side, side).total < self.max_digits:
            side += 4
        raise UserError(
            f"data.max_digits={self.max_digits} does not fit on {self.height}x{self.width} with "
            f"data.overlap={self.overlap} and data.order_margin={self.order_margin}: choose at most "
            f"data.max_digits={room}, or data.height={side} data.width={side}"
        )


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
