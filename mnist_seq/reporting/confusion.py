"""The confusion matrix as an HTML table, with the most frequent errors and examples of them.

Shapes   10 11: labels 0 to 9, predictions 0 to 9 and none
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.metrics import confusion_matrix
from mnist_seq.vocabulary import NUM_DIGITS

Pair = tuple[int, int]
"""Label and prediction; the prediction `NUM_DIGITS` stands for none."""
_NUM_PAIRS, _SCENES_PER_PAIR = 4, 7
_MAX_SEARCHED = 500
"""Misread scenes that are searched for examples."""


def table_cells(counts: Tensor) -> list[list[dict[str, Any]]]:
    """Cells of the table: count, whether correct, and opacity of the background.

    Correct cells are shaded by their share of the row, errors relative to the most frequent one.

    Args:
        counts: 10 11, int64.
    """
    errors, row_sums = _errors(counts), counts.sum(1, keepdim=True).clamp(min=1)
    shares, error_shares = counts / row_sums, errors / row_sums
    error_shades = (error_shares / error_shares.max().clamp(min=1e-9)).sqrt() * 0.7
    shades = torch.where(errors > 0, error_shades, shares * 0.6)
    return [
        [
            {"count": int(counts[row, column]), "shade": round(float(shades[row, column]), 3), "correct": row == column}
            for column in range(NUM_DIGITS + 1)
        ]
        for row in range(NUM_DIGITS)
    ]


def most_frequent_errors(counts: Tensor) -> list[Pair]:
    """Pairs of label and prediction with the most errors, most frequent first.

    Args:
        counts: 10 11, int64.
    """
    errors = _errors(counts)
    pairs = [(label, predicted) for label, predicted in errors.nonzero().tolist()]
    return sorted(pairs, key=lambda pair: -int(errors[pair]))[:_NUM_PAIRS]


def describe(label: int, predicted: int) -> str:
    """Describe an error, e.g. "4 read as 9"."""
    return f"{label} read as {predicted}" if predicted < NUM_DIGITS else f"{label} not read"


def summarize(counts: Tensor) -> str:
    """State the number of misread digits and the most confused pairs.

    Args:
        counts: 10 11, int64.
    """
    errors = _errors(counts)
    total = int(errors.sum())
    if not total:
        return "No digit was misread."
    both_ways = errors[:, :NUM_DIGITS] + errors[:, :NUM_DIGITS].T
    pairs = sorted(((int(both_ways[a, b]), a, b) for a in range(NUM_DIGITS) for b in range(a)), reverse=True)
    top = ", ".join(f"{b} and {a} ({count / total:.0%})" for count, a, b in pairs[:3] if count)
    confused = f" The most confused pairs: {top}." if top else ""
    num_missed = int(errors[:, NUM_DIGITS].sum())
    missed = f" {num_missed / total:.0%} were not read at all." if num_missed else ""
    return f"{total:,} digits were misread.{confused}{missed}"


def find_examples(result: EvalResult, pairs: list[Pair]) -> dict[Pair, list[int]]:
    """Find scenes with each of some errors, highest confidence first; ids."""
    predictions = result.predictions
    examples: dict[Pair, list[int]] = {pair: [] for pair in pairs}
    for id_ in result.error_ids[:_MAX_SEARCHED].tolist():
        output = predictions.output.select(slice(id_, id_ + 1))
        counts = confusion_matrix(output, predictions.digits[id_ : id_ + 1], predictions.ordered)
        for pair, ids in examples.items():
            if counts[pair] and len(ids) < _SCENES_PER_PAIR:
                ids.append(id_)
    return examples


def _errors(counts: Tensor) -> Tensor:
    """The counts with a zero diagonal."""
    errors = counts.clone()
    errors[:, :NUM_DIGITS].fill_diagonal_(0)
    return errors
