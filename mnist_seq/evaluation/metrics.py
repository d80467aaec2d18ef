"""Metrics of predicted digit sequences, per scene and per digit.

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
    """Metrics of each scene; B each, float."""

    exact_match: Tensor
    """1 where the whole sequence is correct and ended; for sets, in any order."""
    multiset_match: Tensor
    """1 where the digits are correct in any order and the sequence ended."""
    num_correct_digits: Tensor
    """Digits predicted at their position; for sets, at any position."""
    num_digits: Tensor
    """Digits of the label."""
    count_correct: Tensor
    """1 where as many digits were predicted as the label has."""
    missing_eos: Tensor
    """1 where the prediction did not end."""


METRICS = {
    "exact_match": ("exact_match", None),
    "multiset_match": ("multiset_match", None),
    "digit_accuracy": ("num_correct_digits", "num_digits"),
    "count_accuracy": ("count_correct", None),
    "end_errors": ("missing_eos", None),
}
"""Name -> numerator and denominator, which are summed over scenes: fields of `SceneMetrics`; None counts scenes."""


def compute_scene_metrics(output: DecodeOutput, targets: Tensor, ordered: bool = True) -> SceneMetrics:
    """Compare predictions with labels.

    Args:
        output: predictions for B scenes.
        targets: B N, int64, PAD after the last digit; N may differ from the output's.
        ordered: whether the order of the digits counts.
    """
    predicted, targets = pad_to_same_length(output, targets)
    is_digit = targets < NUM_DIGITS
    multiset_match = (_digit_counts(predicted) == _digit_counts(targets)).all(1) & output.ended
    return SceneMetrics(
        exact_match=((predicted == targets).all(1) & output.ended if ordered else multiset_match).float(),
        multiset_match=multiset_match.float(),
        num_correct_digits=correct_digit_mask(output, targets, ordered).sum(1).float(),
        num_digits=is_digit.sum(1).float(),
        count_correct=((predicted < NUM_DIGITS).sum(1) == is_digit.sum(1)).float(),
        missing_eos=(~output.ended).float(),
    )


def correct_digit_mask(output: DecodeOutput, targets: Tensor, ordered: bool = True) -> Tensor:
    """Mark the label digits that were predicted; B N, bool.

    A digit must be predicted at its position; for sets, at any position, and of equal digits the first ones count.
    """
    num_slots = targets.shape[1]
    predicted, targets = pad_to_same_length(output, targets)
    if ordered:
        return ((predicted == targets) & (targets < NUM_DIGITS))[:, :num_slots]
    counts = F.pad(_digit_counts(predicted), (0, PAD + 1 - NUM_DIGITS))
    num_equal_before = (targets[..., None] == targets[:, None]).tril(diagonal=-1).sum(-1)
    return (num_equal_before < counts.gather(1, targets))[:, :num_slots]


def classify_errors(scene_metrics: SceneMetrics) -> dict[str, Tensor]:
    """Assign each wrong prediction to one error type, the first that applies; B each, bool."""
    wrong, count_correct = scene_metrics.exact_match == 0, scene_metrics.count_correct > 0
    missing_eos = scene_metrics.missing_eos > 0
    reordered = scene_metrics.multiset_match > 0
    return {
        "it did not end": wrong & missing_eos,
        "wrong number of digits": wrong & ~missing_eos & ~count_correct,
        "the right digits in another order": wrong & ~missing_eos & reordered,
        "wrong digits": wrong & ~missing_eos & count_correct & ~reordered,
    }


def edit_distance(predicted: list[int], target: list[int]) -> int:
    """Compute the number of insertions, deletions and substitutions (Levenshtein 1966)."""
    return sum(one != other for one, other in align(predicted, target))


def confusion_matrix(output: DecodeOutput, targets: Tensor, ordered: bool = True) -> Tensor:
    """Count the label digits by predicted digit; 10 11, int64, the last column for digits without a prediction.

    Predictions of the correct length are compared by position. Others are first aligned with the fewest edits, so that
    a missing digit does not shift all digits after it. For sets, and where only the order is wrong, equal digits are
    matched first, and the remaining ones in ascending order.
    """
    predicted, targets = pad_to_same_length(output, targets)
    predicted_counts, target_counts = _digit_counts(predicted), _digit_counts(targets)
    as_set = torch.ones_like(targets[:, 0], dtype=torch.bool)
    if ordered:
        as_set = (predicted_counts == target_counts).all(1)
    num_matched = predicted_counts.minimum(target_counts)[as_set].sum(0)
    other_length = ~as_set & ((predicted < NUM_DIGITS).sum(1) != (targets < NUM_DIGITS).sum(1))
    sequences = zip(decode(predicted[other_length]), decode(targets[other_length]), strict=True)
    aligned = [pair for one, other in sequences for pair in align(one, other)]
    predicted = torch.where(as_set[:, None], _unmatched_digits(predicted, target_counts), predicted)[~other_length]
    targets = torch.where(as_set[:, None], _unmatched_digits(targets, predicted_counts), targets)[~other_length]
    is_digit = targets < NUM_DIGITS
    pairs = targets[is_digit] * (NUM_DIGITS + 1) + predicted[is_digit].clamp(max=NUM_DIGITS)
    aligned_pairs = [target * (NUM_DIGITS + 1) + other for other, target in aligned if target < NUM_DIGITS]
    pairs = torch.cat([pairs, pairs.new_tensor(aligned_pairs)])
    counts = torch.bincount(pairs, minlength=NUM_DIGITS * (NUM_DIGITS + 1)).view(NUM_DIGITS, NUM_DIGITS + 1)
    return counts + F.pad(num_matched.diag(), (0, 1))


def align(predicted: list[int], target: list[int]) -> list[tuple[int, int]]:
    """Align two sequences with the fewest edits.

    Returns:
        Pairs of a predicted and a target digit; PAD where one has no partner.
    """
    costs = [[max(row, column) for column in range(len(target) + 1)] for row in range(len(predicted) + 1)]
    for row, column in product(range(1, len(predicted) + 1), range(1, len(target) + 1)):
        substitution = costs[row - 1][column - 1] + (predicted[row - 1] != target[column - 1])
        costs[row][column] = min(substitution, costs[row - 1][column] + 1, costs[row][column - 1] + 1)
    pairs, row, column = [], len(predicted), len(target)
    while row or column:
        cost = costs[row][column]
        if row and column and cost == costs[row - 1][column - 1] + (predicted[row - 1] != target[column - 1]):
            row, column = row - 1, column - 1
            pairs.append((predicted[row], target[column]))
        elif row and cost == costs[row - 1][column] + 1:
            row -= 1
            pairs.append((predicted[row], PAD))
        else:
            column -= 1
            pairs.append((PAD, target[column]))
    return pairs[::-1]


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide elementwise; 1 where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator, 1.0)


def pad_to_same_length(output: DecodeOutput, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Pad predicted and target digits to the longer of both; B N each."""
    length = max(output.digits.shape[1], targets.shape[1])
    predicted, padded_targets = (
        F.pad(digits, (0, length - digits.shape[1]), value=PAD) for digits in (output.digits, targets)
    )
    return predicted, padded_targets


def _digit_counts(digits: Tensor) -> Tensor:
    """Count each of the ten digits; B 10."""
    return F.one_hot(digits.clamp(max=NUM_DIGITS), NUM_DIGITS + 1).sum(1)[:, :NUM_DIGITS]


def _unmatched_digits(digits: Tensor, counts: Tensor) -> Tensor:
    """Remove `counts`, B 10, of each digit from each row, and sort the rest; B N, PAD after the last digit."""
    ascending = digits.sort(1).values
    num_smaller = (ascending[:, None] < ascending[..., None]).sum(-1)
    rank = torch.arange(digits.shape[1], device=digits.device) - num_smaller  # among equal digits
    matched = rank < F.pad(counts, (0, PAD + 1 - NUM_DIGITS)).gather(1, ascending)
    return ascending.masked_fill(matched, PAD).sort(1).values
