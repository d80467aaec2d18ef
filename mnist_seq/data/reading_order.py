"""Reading orders: which digit comes first, and how far from changing that is.

Shapes   ... any leading shape   N slots for digits

Orders go by the frames' corners, whole pixels: frames are of one size, so corners stand for centres and for tops.
"""

from __future__ import annotations

import torch
from torch import Tensor

_OUT_OF_RANGE = 2**20
"""Beyond every coordinate, pixels."""


def sort_keys(order: str, corners: Tensor, present: Tensor, digit_size: int, labels: Tensor) -> Tensor:
    """Numbers that ascend in reading order, absent digits last; ... N, int64.

    Args:
        order: `left_to_right` (equal x: upper first), `raster` (top y, then x), `rows`, or `set`: digits ascend.
        corners: ... N 2, x y of the frames' upper left corners.
        present: ... N, bool.
        side: of a frame, pixels.
        labels: ... N, the digits.
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


def row_indices(tops: Tensor, present: Tensor, digit_size: int) -> Tensor:
    """The row of each digit: the first holds every digit whose top is less than half a side below the topmost.

    Args:
        tops: ... N.
        present: ... N, bool.
    """
    row = torch.zeros_like(tops)
    for (top, _), later in _row_starts(tops, present, digit_size):
        row += (2 * (tops - top) >= digit_size) & later
    return row


def margin(order: str, corners: Tensor, present: Tensor, digit_size: int) -> Tensor:
    """How far a digit must at least move for rows or order to change; ..., pixels, very many where none can."""
    x, y = corners.unbind(-1)
    least = torch.full_like(x[..., 0], _OUT_OF_RANGE)
    if order == "set":
        return least
    if order == "rows":
        for (top, topmost), later in _row_starts(y, present, digit_size):
            others = later.scatter(-1, topmost, False)  # it takes its row along
            away = torch.where(others, (2 * (y - top) - digit_size).abs(), 2 * _OUT_OF_RANGE)
            least = least.minimum(away.amin(-1) // 2)
        line = x + row_indices(y, present, digit_size) * _OUT_OF_RANGE  # digits of other rows are far apart
    else:
        line = x if order == "left_to_right" else y
    end = torch.full_like(line[..., :1], _OUT_OF_RANGE * _OUT_OF_RANGE)
    apart = torch.where(present, line, _OUT_OF_RANGE * _OUT_OF_RANGE).sort(-1).values.diff(dim=-1, append=end)
    both = present.sum(-1, keepdim=True) > torch.arange(1, present.shape[-1] + 1, device=present.device)
    return least.minimum(torch.where(both, apart, _OUT_OF_RANGE).amin(-1))


def has_margin(order: str, min_margin: int, corners: Tensor, present: Tensor, digit_size: int) -> Tensor:
    """Whether neither rows nor order would change if any digit moved by less than so many pixels; ..., bool."""
    if min_margin == 0:
        return torch.ones_like(present[..., 0])
    return margin(order, corners, present, digit_size) >= min_margin


def _row_starts(tops: Tensor, present: Tensor, side: int) -> list[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Of each row its topmost digit, its top and its slot, ... 1 each, and which digits lie in it or below, ... N."""
    begun, later = [], present
    for _ in range(tops.shape[-1]):
        top, topmost = torch.where(later, tops, _OUT_OF_RANGE).min(-1, keepdim=True)
        begun.append(((top, topmost), later))
        later = later & (2 * (tops - top) >= side)
    return begun
