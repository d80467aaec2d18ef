"""Where a reader is good and where not: figures of scenes, or of digits, that have something in common.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mnist_seq.judging.intervals import Kin, Share, share
from mnist_seq.judging.verdicts import right_digits
from mnist_seq.tokens import DIGITS

if TYPE_CHECKING:
    from mnist_seq.judging.judgement import Readings

MARGINS = (1, 2, 4, 8, 16)
"""Lower ends of strata of the order's margin, pixels."""
OVERLAPS = (0.0, 0.05, 0.1, 0.2)
"""Upper ends of strata of the largest intersection over union."""
_AT_ONCE = 512
"""Scenes whose boxes are held against each other at once."""


class Stratum(NamedTuple):
    """What some scenes, or digits, have in common, and how well they were read."""

    name: str
    share: Share


def strata(readings: Readings, exact: Tensor, kin: Kin) -> dict[str, list[Stratum]]:
    """By what, and its strata, as far as these scenes differ in it.

    Args:
        exact: B, 1 where a reading is right.
    """
    found = {
        "exact match, by digits in the scene": _by_count(readings, exact),
        "exact match, by overlap of the digits' boxes, where there are several": _by_overlap(readings, exact),
        "exact match, by the pixels that decide the order of several": _by_margin(readings, exact),
        "digits right, by place in the reading": _by_place(readings),
        "digits right, by digit": _by_digit(readings),
    }
    shares = {
        what: [Stratum(name, share(right, total, kin)) for name, right, total in each if total.any()]
        for what, each in found.items()
    }
    return {what: each for what, each in shares.items() if len(each) > 1}


_Parts = Iterator[tuple[str, Tensor, Tensor]]
"""Name, how many are right in each scene, out of how many."""


def _by_count(readings: Readings, exact: Tensor) -> _Parts:
    counts = (readings.digits < DIGITS).sum(1)
    for count in range(readings.digits.shape[1] + 1):
        yield str(count), exact * (counts == count), (counts == count).float()


def _by_place(readings: Readings) -> _Parts:
    if not readings.ordered:
        return
    right, there = right_digits(readings.readout, readings.digits), readings.digits < DIGITS
    for place in range(there.shape[1]):
        yield f"{place + 1}", right[:, place].float(), there[:, place].float()


def _by_digit(readings: Readings) -> _Parts:
    right = right_digits(readings.readout, readings.digits, readings.ordered)
    for digit in range(DIGITS):
        these = readings.digits == digit
        yield str(digit), (right & these).sum(1).float(), these.sum(1).float()


def _by_overlap(readings: Readings, exact: Tensor) -> _Parts:
    several, most = readings.several, readings.overlaps
    for least, upto in zip((-1.0, *OVERLAPS), (*OVERLAPS, 1.0), strict=True):
        these = several & (most > least) & (most <= upto)
        name = "none" if upto == 0 else f"over {least:g}" if upto == 1 else f"up to {upto:g}"
        yield name, exact * these, these.float()


def _by_margin(readings: Readings, exact: Tensor) -> _Parts:
    if readings.margins is None:
        return
    for least, next_ in zip((0, *MARGINS), (*MARGINS, 2**62), strict=True):
        these = readings.several & (readings.margins >= least) & (readings.margins < next_)
        if next_ > MARGINS[-1]:
            name = f"{least} or more"
        else:
            name = str(least) if next_ == least + 1 else f"{least} to {next_ - 1}"
        yield name, exact * these, these.float()


def overlaps(boxes: Tensor) -> Tensor:
    """The largest intersection over union of any two boxes of each scene; B.

    Args:
        boxes: B N 4, x0 y0 x1 y1, half open; of no extent where there is none.
    """
    return torch.cat([_overlaps(some.double()) for some in boxes.split(_AT_ONCE)])


def _overlaps(boxes: Tensor) -> Tensor:
    upper = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    lower = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    shared = (lower - upper).clamp(min=0).prod(-1)
    area = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
    union = area[:, :, None] + area[:, None] - shared
    each = torch.where(union > 0, shared / union.clamp(min=1), 0.0)
    return each.triu(diagonal=1).flatten(1).amax(1)
