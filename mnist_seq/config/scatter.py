"""Scattered digits: how near they may come, in which order they are read, and where there is always room for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mnist_seq.config.data import Spec, VariableCountConfig
from mnist_seq.config.validation import check, check_choice
from mnist_seq.errors import UserError

ORDERS = ("left_to_right", "raster", "rows", "set")


@dataclass
class ScatterConfig(VariableCountConfig):
    """Digits at random places, so many as a uniform draw says, their frames apart or overlapping within a bound."""

    family: str = "scatter"
    min_digits: int = 0
    overlap: Any = "none"
    """Of any two frames: `none`, a bound on their intersection over union in (0, 1), or `free`."""
    order: str = "rows"
    """How the digits are read: left_to_right, raster, rows or set."""
    order_margin: int = 2
    """Layouts whose rows or order would change if a digit moved by less than this are drawn again, pixels."""
    max_attempts: int = 16
    """Uniform tries a digit before its layout is begun anew."""
    drop_unplaced: bool = False
    """Leave out a digit that found no place in its tries, instead of drawing again: then counts are not uniform."""

    def __post_init__(self) -> None:
        super().__post_init__()
        numeric = isinstance(self.overlap, (int, float)) and not isinstance(self.overlap, bool)
        check(
            self.overlap in ("none", "free") or (numeric and 0 < self.overlap < 1),
            f"data.overlap={self.overlap} must be none, free, or a bound between 0 and 1",
        )
        check_choice("data.order", self.order, ORDERS)
        margin, half = self.order_margin, self.digit_size // 2
        check(0 <= margin <= half, f"data.order_margin={margin} must lie in 0..{half}, half of data.digit_size")
        check(
            margin == 0 or self.order != "set",
            f"data.order_margin={margin} has no meaning with data.order=set: choose data.order_margin=0",
        )
        check(
            margin == 0 or not self.drop_unplaced,
            f"data.order_margin={margin} cannot be kept with data.drop_unplaced=true: choose data.order_margin=0",
        )
        check(self.max_attempts >= 1, f"data.max_attempts={self.max_attempts} must be at least 1")
        if not self.drop_unplaced:
            self._check_capacity()

    @property
    def max_iou(self) -> float:
        """On the intersection over union of any two frames."""
        return {"none": 0.0, "free": 1.0}[self.overlap] if isinstance(self.overlap, str) else float(self.overlap)

    @property
    def row_packing(self) -> RowPacking:
        """Where digits are put when random tries fail."""
        return self._pack_rows(self.height, self.width)

    @property
    def spec(self) -> Spec:
        ordered = self.order != "set"
        if self.max_iou == 1:
            return self._make_spec((0, 0), ordered)
        # Two frames whose corners are nearer than this on both axes overlap too much: no cell of this side holds two.
        side = max(1, self.digit_size - math.isqrt(max_intersection(self.digit_size, self.max_iou)))
        return self._make_spec((-(-self.height // side), -(-self.width // side)), ordered)

    def _pack_rows(self, height: int, width: int) -> RowPacking:
        return pack_rows(height, width, self.digit_size, self.max_iou, self.order, self.order_margin)

    def _check_capacity(self) -> None:
        room = self.row_packing.capacity
        if self.max_digits <= room:
            return
        side = max(self.height, self.width)
        while self._pack_rows(side, side).capacity < self.max_digits:
            side += 4
        raise UserError(
            f"data.max_digits={self.max_digits} does not fit on {self.height}x{self.width} with "
            f"data.overlap={self.overlap} and data.order_margin={self.order_margin}: choose at most "
            f"data.max_digits={room}, or data.height={side} data.width={side}"
        )


@dataclass(frozen=True)
class RowPacking:
    """Rows of seats, in corners of a digit's frame; `pitch`, `row_pitch` and the slack left over are what keeps apart.

    Row r holds corners with x = lead * r, plus multiples of `quantum`. For `raster` the canvas is turned: x is y.
    """

    transposed: bool
    max_corner: tuple[int, int]
    """Largest x and y of a corner, pixels (turned where `turned`)."""
    row_pitch: int
    """Least distance from row to row, pixels."""
    jitter: int
    """How far a digit may lie below the top of its row, pixels."""
    x_step: int
    """Step of the x of a row, pixels."""
    row_offset: int
    """How much further right each row begins than the one above, pixels."""
    pitch: int
    """Least distance from seat to seat in a row, quanta."""
    row_capacities: tuple[int, ...]
    """Seats of each row."""

    @property
    def capacity(self) -> int:
        return sum(self.row_capacities)


def min_spacing(digit_size: int, max_iou: float) -> int:
    """The least distance on one axis, none on the other, at which two frames' IoU stays within its bound, pixels."""
    return math.ceil(digit_size * (1 - max_iou) / (1 + max_iou) - 1e-9)


def max_intersection(digit_size: int, max_iou: float) -> int:
    """The largest intersection of two frames whose IoU stays within its bound, square pixels."""
    return math.floor(2 * digit_size * digit_size * max_iou / (1 + max_iou) + 1e-9)


def pack_rows(height: int, width: int, digit_size: int, max_iou: float, order: str, order_margin: int) -> RowPacking:
    """The seats of a canvas: as many as can be had.

    Args:
        side: of a digit's frame, pixels.
        bound: on the IoU of two frames.
        order: reading order, which no move of a digit by less than `margin` pixels may change.
    """
    turned = order == "raster"
    reach = (height - digit_size, width - digit_size) if turned else (width - digit_size, height - digit_size)
    apart = min_spacing(digit_size, max_iou)
    by_rows = order == "rows"
    row_pitch = max(apart, -(-digit_size // 2) + order_margin) if by_rows else apart
    most_rows = 1 + reach[1] // row_pitch if row_pitch else 1
    jitter = (digit_size - max(2 * order_margin, 1)) // 2 if by_rows else reach[1]
    laid = []
    for rows in range(1, most_rows + 1):
        lead = 0 if by_rows else order_margin
        quantum = max(1, rows * lead)  # rows keep to x of different remainders by it, so that no two come nearer
        pitch = max(1, -(-max(apart, order_margin) // quantum))
        rooms = [(reach[0] - row * lead) // quantum for row in range(rows)]
        in_row = tuple(1 + room // pitch if room >= 0 else 0 for room in rooms)
        laid.append(RowPacking(turned, reach, row_pitch, jitter, quantum, lead, pitch, in_row))
    return max(laid, key=lambda each: (each.capacity, len(each.row_capacities)))
