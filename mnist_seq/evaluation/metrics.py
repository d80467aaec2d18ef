"""What is right and wrong about a reading.

Shapes   B scenes   N longest sequence
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import NUM_DIGITS, PAD, decode


class SceneMetrics(NamedTuple):
    """What is right and wrong about each reading; B each, float."""

    exact_match: Tensor
    """The whole sequence is right and came to its end; of a set, in any order."""
    multiset_match: Tensor
    """The right digits, in whatever order, and their end."""
    num_correct_digits: Tensor
    """Digits read right at their place in the sequence; of a set, at any."""
    num_digits: Tensor
    """Digits there were."""
    count_correct: Tensor
    """As many digits as there were."""
    missing_eos: Tensor
    """The reading did not come to its end."""


METRICS = {
    "exact_match": ("exact_match", None),
    "multiset_match": ("multiset_match", None),
    "digit_accuracy": ("num_correct_digits", "num_digits"),
    "count_accuracy": ("count_correct", None),
    "end_errors": ("missing_eos", None),
}
"""Name -> what is summed and by what it is divided: a field of the verdict, or the number of scenes."""


def compute_scene_metrics(output: DecodeOutput, targets: Tensor, ordered: bool = True) -> SceneMetrics:
    """Hold readings against the truth.

    Args:
        digits: B N, int64, PAD after the last; N may differ from the readout's.
        ordered: whether the order counts.
    """
    read, targets = pad_to_same_length(output, targets)
    there = targets < NUM_DIGITS
    multiset = (_digit_counts(read) == _digit_counts(targets)).all(1) & output.ended
    return SceneMetrics(
        exact_match=((read == targets).all(1) & output.ended if ordered else multiset).float(),
        multiset_match=multiset.float(),
        num_correct_digits=correct_digit_mask(output, targets, ordered).sum(1).float(),
        num_digits=there.sum(1).float(),
        count_correct=((read < NUM_DIGITS).sum(1) == there.sum(1)).float(),
        missing_eos=(~output.ended).float(),
    )


def correct_digit_mask(output: DecodeOutput, targets: Tensor, ordered: bool = True) -> Tensor:
    """Which of the digits that are there were read; B N, bool.

    At their place; of a set, at any, and of several that are the same the first.
    """
    slots = targets.shape[1]
    read, targets = pad_to_same_length(output, targets)
    if ordered:
        return ((read == targets) & (targets < NUM_DIGITS))[:, :slots]
    tally = F.pad(_digit_counts(read), (0, PAD + 1 - NUM_DIGITS))
    before = (targets[..., None] == targets[:, None]).tril(diagonal=-1).sum(-1)  # that are the same
    return (before < tally.gather(1, targets))[:, :slots]


def classify_errors(scene_metrics: SceneMetrics) -> dict[str, Tensor]:
    """What went wrong first in each reading that is not right: each has one kind; B each, bool."""
    wrong, right_number = scene_metrics.exact_match == 0, scene_metrics.count_correct > 0
    endless = scene_metrics.missing_eos > 0
    reordered = scene_metrics.multiset_match > 0
    return {
        "it did not end": wrong & endless,
        "wrong number of digits": wrong & ~endless & ~right_number,
        "the right digits in another order": wrong & ~endless & reordered,
        "wrong digits": wrong & ~endless & right_number & ~reordered,
    }


def edit_distance(predicted: list[int], target: list[int]) -> int:
    """Digits to put in, leave out or replace until a reading is right (Levenshtein 1966)."""
    return sum(one != other for one, other in align(predicted, target))


def confusion_matrix(output: DecodeOutput, targets: Tensor, ordered: bool = True) -> Tensor:
    """How often each digit was read as which; 10 11, int64, the last column for no digit read.

    Place by place where as many digits were read as there are. Readings that are too short or too long are first
    aligned by the fewest edits, so that one missing digit is no row of confusions. Where no order counts, and where
    only the order is wrong, digits of both go together as far as they can, and what is left in ascending order.
    """
    read, targets = pad_to_same_length(output, targets)
    tally, true_tally = _digit_counts(read), _digit_counts(targets)
    as_set = (tally == true_tally).all(1) if ordered else torch.ones_like(targets[:, 0], dtype=torch.bool)
    together = tally.minimum(true_tally)[as_set].sum(0)
    uneven = ~as_set & ((read < NUM_DIGITS).sum(1) != (targets < NUM_DIGITS).sum(1))
    aligned = [
        pair for both in zip(*map(decode, (read[uneven], targets[uneven])), strict=True) for pair in align(*both)
    ]
    read = torch.where(as_set[:, None], _unmatched_digits(read, true_tally), read)[~uneven]
    targets = torch.where(as_set[:, None], _unmatched_digits(targets, tally), targets)[~uneven]
    there = targets < NUM_DIGITS
    pairs = targets[there] * (NUM_DIGITS + 1) + read[there].clamp(max=NUM_DIGITS)
    found = [truth * (NUM_DIGITS + 1) + other for other, truth in aligned if truth < NUM_DIGITS]
    pairs = torch.cat([pairs, pairs.new_tensor(found)])
    counts = torch.bincount(pairs, minlength=NUM_DIGITS * (NUM_DIGITS + 1)).view(NUM_DIGITS, NUM_DIGITS + 1)
    return counts + F.pad(together.diag(), (0, 1))


def align(predicted: list[int], target: list[int]) -> list[tuple[int, int]]:
    """Pairs of what was read and what is there, along the fewest edits; PAD where one has no partner."""
    costs = [[max(row, column) for column in range(len(target) + 1)] for row in range(len(predicted) + 1)]
    for row, column in product(range(1, len(predicted) + 1), range(1, len(target) + 1)):
        changed = costs[row - 1][column - 1] + (predicted[row - 1] != target[column - 1])
        costs[row][column] = min(changed, costs[row - 1][column] + 1, costs[row][column - 1] + 1)
    pairs, row, column = [], len(predicted), len(target)
    while row or column:
        here = costs[row][column]
        if row and column and here == costs[row - 1][column - 1] + (predicted[row - 1] != target[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((predicted[row], target[column]))
        elif row and here == costs[row - 1][column] + 1:
            row -= 1
            pairs.append((predicted[row], PAD))
        else:
            column -= 1
            pairs.append((PAD, target[column]))
    return pairs[::-1]


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The one of the other; of nothing, all is right."""
    return torch.where(denominator > 0, numerator / denominator, 1.0)


def pad_to_same_length(output: DecodeOutput, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What was read and what there is, in as many slots as the longer needs."""
    longest = max(output.digits.shape[1], targets.shape[1])
    read, there = (F.pad(each, (0, longest - each.shape[1]), value=PAD) for each in (output.digits, targets))
    return read, there


def _digit_counts(digits: Tensor) -> Tensor:
    """How often each digit is there; B 10."""
    return F.one_hot(digits.clamp(max=NUM_DIGITS), NUM_DIGITS + 1).sum(1)[:, :NUM_DIGITS]


def _unmatched_digits(digits: Tensor, counts: Tensor) -> Tensor:
    """Each row's digits, ascending, without as many of each as the others, B 10, have; B N, PAD after the last."""
    ascending = digits.sort(1).values
    smaller = (ascending[:, None] < ascending[..., None]).sum(-1)
    rank = torch.arange(digits.shape[1], device=digits.device) - smaller  # among those that are the same
    found = rank < F.pad(counts, (0, PAD + 1 - NUM_DIGITS)).gather(1, ascending)
    return ascending.masked_fill(found, PAD).sort(1).values
