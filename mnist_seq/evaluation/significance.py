"""Significance tests between models, and between recipes that were trained with several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.intervals import Difference, SharedSources, paired_difference


class ComparedModel(NamedTuple):
    """A model, or the models of several seeds of one recipe; all are evaluated on the same scenes."""

    name: str
    results: list[EvalResult]
    """One per seed."""

    @property
    def scores(self) -> list[float]:
        """Exact match of each seed, in [0, 1]."""
        return [result.metrics["exact_match"].value for result in self.results]

    @property
    def mean_score(self) -> float:
        return mean(self.scores)

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds; None for a single model."""
        return stdev(self.scores) if len(self.scores) > 1 else None


class PairedComparison(NamedTuple):
    """A model compared with the baseline."""

    difference: Difference
    gained: Tensor
    """Ids of the scenes that only this model predicts correctly; empty for several seeds."""
    lost: Tensor
    """Ids of the scenes that only the baseline predicts correctly; empty for several seeds."""


def compare_pair(baseline: ComparedModel, other: ComparedModel) -> PairedComparison:
    """Compare two models scene by scene, or two recipes seed by seed.

    For two models, the interval covers the difference on other scenes (`paired_difference`). For two recipes, it covers
    the difference with other seeds on these scenes (Welch 1947).
    """
    if len(baseline.results) > 1:
        no_ids = torch.zeros(0, dtype=torch.int64)
        return PairedComparison(_welch_test(baseline.scores, other.scores), no_ids, no_ids)
    before, after = (model.results[0].scene_metrics.exact_match for model in (baseline, other))
    difference = paired_difference(before, after, SharedSources(baseline.results[0].predictions.shared_ids))
    return PairedComparison(difference, (after > before).nonzero()[:, 0], (before > after).nonzero()[:, 0])


def letter_labels(models: Sequence[ComparedModel]) -> list[str]:
    """Short labels in place of names that may be long: A, B, ..."""
    return [chr(ord("A") + index) if index < 26 else str(index + 1) for index in range(len(models))]


def format_percentage_points(difference: Difference) -> str:
    """Format a difference and its interval in percentage points."""
    value, low, high = (f"{100 * number:+.2f}" for number in difference[:3])
    return f"{value} ({low} to {high})"


def format_p_value(p_value: float) -> str:
    """Format a p-value with two digits."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def describe_difference(difference: Difference) -> str:
    """Say whether a difference is significant, and in which direction."""
    if not difference.significant:
        return "not significantly different"
    return "significantly better" if difference.value > 0 else "significantly worse"


def _welch_test(baseline: list[float], other: list[float]) -> Difference:
    from scipy.stats import ttest_ind

    value = mean(other) - mean(baseline)
    if stdev(baseline) == stdev(other) == 0:  # identical scores say nothing about the spread of other seeds
        return Difference(value, -1.0, 1.0, 1.0)
    test = ttest_ind(other, baseline, equal_var=False)
    interval = test.confidence_interval(0.95)
    return Difference(value, float(interval.low), float(interval.high), float(test.pvalue))
