"""Positions on a canvas that keep digits apart and in order, for layouts that random placement does not find."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RowPacking:
    """Positions in rows, as top left corners of frames; `pitch` and `row_pitch` keep frames apart.

    Row r holds corners with x = row_offset * r, plus multiples of x_step. For `raster` the axes are swapped.
    """

    transposed: bool
    """Whether x and y are swapped."""
    max_corner: tuple[int, int]
    """Largest x and y of a corner, pixels (swapped where `transposed`)."""
    row_pitch: int
    """Smallest distance between rows, pixels."""
    jitter: int
    """Largest distance of a digit from the top of its row, pixels."""
    x_step: int
    """Step of x in a row, pixels."""
    row_offset: int
    """Offset of the start of each row from the row above, pixels."""
    pitch: int
    """Smallest distance between positions in a row, in x_steps."""
    row_capacities: tuple[int, ...]
    """Positions in each row."""

    @property
    def capacity(self) -> int:
        """Number of positions."""
        return sum(self.row_capacities)


def min_spacing(digit_size: int, max_iou: float) -> int:
    """Smallest distance of two aligned frames whose IoU is at most max_iou, pixels."""
    return math.ceil(digit_size * (1 - max_iou) / (1 + max_iou) - 1e-9)


def max_intersection(digit_size: int, max_iou: float) -> int:
    """Largest intersection of two frames whose IoU is at most max_iou, square pixels."""
    return math.floor(2 * digit_size * digit_size * max_iou / (1 + max_iou) + 1e-9)


def pack_rows(height: int, width: int, digit_size: int, max_iou: float, order: str, order_margin: int) -> RowPacking:
    """Pack as many positions as possible onto a canvas.

    Args:
        height: canvas height, pixels.
        width: canvas width, pixels.
        digit_size: side of a digit's frame, pixels.
        max_iou: largest IoU of two frames, 0..1.
        order: reading order.
        order_margin: moving a digit by less than this must not change the order, pixels.
    """
    transposed = order == "raster"
    max_corner = (height - digit_size, width - digit_size) if transposed else (width - digit_size, height - digit_size)
    spacing = min_spacing(digit_size, max_iou)
    by_rows = order == "rows"
    row_pitch = max(spacing, -(-digit_size // 2) + order_margin) if by_rows else spacing
    max_rows = 1 + max_corner[1] // row_pitch if row_pitch else 1
    jitter = (digit_size - max(2 * order_margin, 1)) // 2 if by_rows else max_corner[1]
    packings = []
    for rows in range(1, max_rows + 1):
        row_offset = 0 if by_rows else order_margin
        x_step = max(1, rows * row_offset)  # rows differ in x modulo it, so no two are closer than row_offset
        pitch = max(1, -(-max(spacing, order_margin) // x_step))
        lengths = [(max_corner[0] - row * row_offset) // x_step for row in range(rows)]
        capacities = tuple(1 + length // pitch if length >= 0 else 0 for length in lengths)
        packings.append(RowPacking(transposed, max_corner, row_pitch, jitter, x_step, row_offset, pitch, capacities))
    return max(packings, key=lambda packing: (packing.capacity, len(packing.row_capacities)))
