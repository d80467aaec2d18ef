"""What is right and wrong about a reading.

Shapes   B scenes   N longest sequence
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.nn.decoding import Readout
from mnist_seq.tokens import DIGITS, PAD, decode


class Verdict(NamedTuple):
    """What is right and wrong about each reading; B each, float."""

    exact: Tensor
    """The whole sequence is right and came to its end; of a set, in any order."""
    multiset: Tensor
    """The right digits, in whatever order, and their end."""
    digits_right: Tensor
    """Digits read right at their place in the sequence; of a set, at any."""
    digits: Tensor
    """Digits there were."""
    count_right: Tensor
    """As many digits as there were."""
    end_error: Tensor
    """The reading did not come to its end."""


MEASURES = {
    "exact_match": ("exact", None),
    "multiset_match": ("multiset", None),
    "digit_accuracy": ("digits_right", "digits"),
    "count_accuracy": ("count_right", None),
    "end_errors": ("end_error", None),
}
"""Name -> what is summed and by what it is divided: a field of the verdict, or the number of scenes."""


def judge(readout: Readout, digits: Tensor, ordered: bool = True) -> Verdict:
    """Hold readings against the truth.

    Args:
        digits: B N, int64, PAD after the last; N may differ from the readout's.
        ordered: whether the order counts.
    """
    read, digits = side_by_side(readout, digits)
    there = digits < DIGITS
    multiset = (_tally(read) == _tally(digits)).all(1) & readout.ended
    return Verdict(
        exact=((read == digits).all(1) & readout.ended if ordered else multiset).float(),
        multiset=multiset.float(),
        digits_right=right_digits(readout, digits, ordered).sum(1).float(),
        digits=there.sum(1).float(),
        count_right=((read < DIGITS).sum(1) == there.sum(1)).float(),
        end_error=(~readout.ended).float(),
    )


def right_digits(readout: Readout, digits: Tensor, ordered: bool = True) -> Tensor:
    """Which of the digits that are there were read; B N, bool.

    At their place; of a set, at any, and of several that are the same the first.
    """
    slots = digits.shape[1]
    read, digits = side_by_side(readout, digits)
    if ordered:
        return ((read == digits) & (digits < DIGITS))[:, :slots]
    tally = F.pad(_tally(read), (0, PAD + 1 - DIGITS))
    before = (digits[..., None] == digits[:, None]).tril(diagonal=-1).sum(-1)  # that are the same
    return (before < tally.gather(1, digits))[:, :slots]


def kinds(verdict: Verdict) -> dict[str, Tensor]:
    """What went wrong first in each reading that is not right: each has one kind; B each, bool."""
    wrong, right_number = verdict.exact == 0, verdict.count_right > 0
    endless = verdict.end_error > 0
    reordered = verdict.multiset > 0
    return {
        "it did not end": wrong & endless,
        "wrong number of digits": wrong & ~endless & ~right_number,
        "the right digits in another order": wrong & ~endless & reordered,
        "wrong digits": wrong & ~endless & right_number & ~reordered,
    }


def edits(read: list[int], truth: list[int]) -> int:
    """Digits to put in, leave out or replace until a reading is right (Levenshtein 1966)."""
    return sum(one != other for one, other in align(read, truth))


def confusion(readout: Readout, digits: Tensor, ordered: bool = True) -> Tensor:
    """How often each digit was read as which; 10 11, int64, the last column for no digit read.

    Place by place where as many digits were read as there are. Readings that are too short or too long are first
    aligned by the fewest edits, so that one missing digit is no row of confusions. Where no order counts, and where
    only the order is wrong, digits of both go together as far as they can, and what is left in ascending order.
    """
    read, digits = side_by_side(readout, digits)
    tally, true_tally = _tally(read), _tally(digits)
    as_set = (tally == true_tally).all(1) if ordered else torch.ones_like(digits[:, 0], dtype=torch.bool)
    together = tally.minimum(true_tally)[as_set].sum(0)
    uneven = ~as_set & ((read < DIGITS).sum(1) != (digits < DIGITS).sum(1))
    aligned = [pair for both in zip(*map(decode, (read[uneven], digits[uneven])), strict=True) for pair in align(*both)]
    read = torch.where(as_set[:, None], _left_over(read, true_tally), read)[~uneven]
    digits = torch.where(as_set[:, None], _left_over(digits, tally), digits)[~uneven]
    there = digits < DIGITS
    pairs = digits[there] * (DIGITS + 1) + read[there].clamp(max=DIGITS)
    found = [truth * (DIGITS + 1) + other for other, truth in aligned if truth < DIGITS]
    pairs = torch.cat([pairs, pairs.new_tensor(found)])
    counts = torch.bincount(pairs, minlength=DIGITS * (DIGITS + 1)).view(DIGITS, DIGITS + 1)
    return counts + F.pad(together.diag(), (0, 1))


def align(read: list[int], truth: list[int]) -> list[tuple[int, int]]:
    """Pairs of what was read and what is there, along the fewest edits; PAD where one has no partner."""
    costs = [[max(row, column) for column in range(len(truth) + 1)] for row in range(len(read) + 1)]
    for row, column in product(range(1, len(read) + 1), range(1, len(truth) + 1)):
        changed = costs[row - 1][column - 1] + (read[row - 1] != truth[column - 1])
        costs[row][column] = min(changed, costs[row - 1][column] + 1, costs[row][column - 1] + 1)
    pairs, row, column = [], len(read), len(truth)
    while row or column:
        here = costs[row][column]
        if row and column and here == costs[row - 1][column - 1] + (read[row - 1] != truth[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((read[row], truth[column]))
        elif row and here == costs[row - 1][column] + 1:
            row -= 1
            pairs.append((read[row], PAD))
        else:
            column -= 1
            pairs.append((PAD, truth[column]))
    return pairs[::-1]


def share(right: Tensor, total: Tensor) -> Tensor:
    """The one of the other; of nothing, all is right."""
    return torch.where(total > 0, right / total, 1.0)


def side_by_side(readout: Readout, digits: Tensor) -> tuple[Tensor, Tensor]:
    """What was read and what there is, in as many slots as the longer needs."""
    longest = max(readout.digits.shape[1], digits.shape[1])
    read, there = (F.pad(each, (0, longest - each.shape[1]), value=PAD) for each in (readout.digits, digits))
    return read, there


def _tally(digits: Tensor) -> Tensor:
    """How often each digit is there; B 10."""
    return F.one_hot(digits.clamp(max=DIGITS), DIGITS + 1).sum(1)[:, :DIGITS]


def _left_over(digits: Tensor, others: Tensor) -> Tensor:
    """Each row's digits, ascending, without as many of each as the others, B 10, have; B N, PAD after the last."""
    ascending = digits.sort(1).values
    smaller = (ascending[:, None] < ascending[..., None]).sum(-1)
    rank = torch.arange(digits.shape[1], device=digits.device) - smaller  # among those that are the same
    found = rank < F.pad(others, (0, PAD + 1 - DIGITS)).gather(1, ascending)
    return ascending.masked_fill(found, PAD).sort(1).values
