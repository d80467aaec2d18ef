"""Whether one reader is better than another, or one recipe than another."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from torch import Tensor

from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.intervals import Difference, SharedSources, paired_difference


class ComparedModel(NamedTuple):
    """A reader, or those of several seeds of one recipe, judged on the same scenes as all others."""

    name: str
    results: list[EvalResult]

    @property
    def scores(self) -> list[float]:
        """Exact match of each."""
        return [it.metrics["exact_match"].value for it in self.results]

    @property
    def mean_score(self) -> float:
        return mean(self.scores)

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds, where there are several."""
        return stdev(self.scores) if len(self.scores) > 1 else None


class PairedComparison(NamedTuple):
    """A contender against the first."""

    difference: Difference
    gained: Tensor
    """Scenes that it alone reads right; ids, none of several seeds."""
    lost: Tensor
    """Scenes that the first alone reads right."""


def compare_pair(baseline: ComparedModel, other: ComparedModel) -> PairedComparison:
    """Hold one against the other: readers scene by scene, recipes seed by seed.

    Of two readers the interval says how they would do on other scenes. Of two recipes it says how others of their seeds
    would do on these scenes (Welch 1947).
    """
    one, two = baseline.results[0], other.results[0]
    rights = one.scene_metrics.exact_match > 0, two.scene_metrics.exact_match > 0
    if len(baseline.results) > 1:
        nothing = rights[0].new_zeros(0).long()
        return PairedComparison(_welch_test(baseline.scores, other.scores), nothing, nothing)
    found = paired_difference(
        one.scene_metrics.exact_match, two.scene_metrics.exact_match, SharedSources(one.predictions.source_ids)
    )
    gained, lost = rights[1] & ~rights[0], rights[0] & ~rights[1]
    return PairedComparison(found, gained.nonzero()[:, 0], lost.nonzero()[:, 0])


def letter_labels(models: Sequence[ComparedModel]) -> list[str]:
    """What they are called where names would be too long: A, B, ..."""
    return [chr(ord("A") + place) if place < 26 else str(place + 1) for place in range(len(models))]


def format_percentage_points(difference: Difference) -> str:
    """A difference and its interval, in points of a hundred."""
    value, low, high = (f"{100 * share:+.2f}" for share in difference[:3])
    return f"{value} ({low} to {high})"


def format_p_value(p_value: float) -> str:
    """A chance, in few digits."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def describe_difference(difference: Difference) -> str:
    """What a difference comes to, in words."""
    if not difference.significant:
        return "no difference shown"
    return "better" if difference.value > 0 else "worse"


def _welch_test(baseline: list[float], other: list[float]) -> Difference:
    from scipy.stats import ttest_ind

    value = mean(other) - mean(baseline)
    if stdev(baseline) == stdev(other) == 0:  # seeds that tie say nothing of how others would spread
        return Difference(value, -1.0, 1.0, 1.0)
    found = ttest_ind(other, baseline, equal_var=False)
    interval = found.confidence_interval(0.95)
    return Difference(value, float(interval.low), float(interval.high), float(found.pvalue))
