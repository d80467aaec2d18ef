"""Reading orders: in which order the digits of a scene are read, and how far a layout is from a change of order.

Orders go by the upper left corners of the frames, in whole pixels. All frames of a scene have one size, so corners and
centres give the same order.

Shapes   L any leading shape   N slots for digits
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_OUT_OF_RANGE = 2**20
"""Larger than every coordinate, pixels."""


def sort_keys(
    order: str,
    corners: Int[Tensor, "*L N 2"],
    present: Bool[Tensor, "*L N"],
    digit_size: int,
    labels: Int[Tensor, "*L N"],
) -> Int[Tensor, "*L N"]:
    """Compute int64 keys that ascend in reading order, absent digits last.

    Args:
        order: `left_to_right` (by x, then y), `raster` (by y, then x), `rows` (row by row, see `row_indices`) or `set`
            (no order: by class).
        corners: x y of the frames' upper left corners, pixels.
        present: which slots hold a digit.
        digit_size: side of a frame, pixels.
        labels: the digits 0-9.
    """
    x, y = corners.unbind(-1)
    if order == "left_to_right":
        key = x * _OUT_OF_RANGE + y
    elif order == "raster":
        key = y * _OUT_OF_RANGE + x
    elif order == "rows":
        key = (row_indices(y, present, digit_size) * _OUT_OF_RANGE + x) * _OUT_OF_RANGE + y
    else:
        key = labels
    return key.masked_fill(~present, torch.iinfo(torch.int64).max)


def row_indices(tops: Int[Tensor, "*L N"], present: Bool[Tensor, "*L N"], digit_size: int) -> Int[Tensor, "*L N"]:
    """Assign digits to rows: the first row is every digit whose top is less than half a side below the topmost one.

    The same rule then applies to the remaining digits.

    Args:
        tops: y of the frames' upper edges, pixels.
        present: which slots hold a digit.
        digit_size: side of a frame, pixels.
    """
    row = torch.zeros_like(tops)
    for (top, _), remaining in _row_starts(tops, present, digit_size):
        row += (2 * (tops - top) >= digit_size) & remaining
    return row


def margin(
    order: str, corners: Int[Tensor, "*L N 2"], present: Bool[Tensor, "*L N"], digit_size: int
) -> Int[Tensor, "*L"]:
    """Compute the smallest move of one digit that changes the rows or the order, pixels.

    Arguments as for `sort_keys`. Very large where no move can change the order.
    """
    x, y = corners.unbind(-1)
    margins = torch.full_like(x[..., 0], _OUT_OF_RANGE)
    if order == "set":
        return margins
    if order == "rows":
        for (top, topmost), remaining in _row_starts(y, present, digit_size):
            others = remaining.scatter(-1, topmost, False)  # the topmost digit takes its row along
            distance = torch.where(others, (2 * (y - top) - digit_size).abs(), 2 * _OUT_OF_RANGE)
            margins = margins.minimum(distance.amin(-1) // 2)
        position = x + row_indices(y, present, digit_size) * _OUT_OF_RANGE  # digits of different rows are far apart
    else:
        position = x if order == "left_to_right" else y
    end = torch.full_like(position[..., :1], _OUT_OF_RANGE * _OUT_OF_RANGE)
    gaps = torch.where(present, position, _OUT_OF_RANGE * _OUT_OF_RANGE).sort(-1).values.diff(dim=-1, append=end)
    both_present = present.sum(-1, keepdim=True) > torch.arange(1, present.shape[-1] + 1, device=present.device)
    return margins.minimum(torch.where(both_present, gaps, _OUT_OF_RANGE).amin(-1))


def has_margin(
    order: str, min_margin: int, corners: Int[Tensor, "*L N 2"], present: Bool[Tensor, "*L N"], digit_size: int
) -> Bool[Tensor, "*L"]:
    """Return whether no move of one digit by less than `min_margin` pixels changes the rows or the order."""
    if min_margin == 0:
        return torch.ones_like(present[..., 0])
    return margin(order, corners, present, digit_size) >= min_margin


def _row_starts(tops: Tensor, present: Tensor, digit_size: int) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
    """For each row: the top and the slot of its topmost digit, ... 1 each, and which digits it or lower rows hold."""
    starts, remaining = [], present
    for _ in range(tops.shape[-1]):
        top, topmost = torch.where(remaining, tops, _OUT_OF_RANGE).min(-1, keepdim=True)
        starts.append(((top, topmost), remaining))
        remaining = remaining & (2 * (tops - top) >= digit_size)
    return starts
