"""Whether one reader is better than another, or one recipe than another."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import NamedTuple

from torch import Tensor

from mnist_seq.judging.intervals import Difference, Kin, difference
from mnist_seq.judging.judgement import Judgement


class Contender(NamedTuple):
    """A reader, or those of several seeds of one recipe, judged on the same scenes as all others."""

    name: str
    judgements: list[Judgement]

    @property
    def scores(self) -> list[float]:
        """Exact match of each."""
        return [it.figures["exact_match"].value for it in self.judgements]

    @property
    def score(self) -> float:
        return mean(self.scores)

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds, where there are several."""
        return stdev(self.scores) if len(self.scores) > 1 else None


class Versus(NamedTuple):
    """A contender against the first."""

    difference: Difference
    gained: Tensor
    """Scenes that it alone reads right; ids, none of several seeds."""
    lost: Tensor
    """Scenes that the first alone reads right."""


def versus(first: Contender, other: Contender) -> Versus:
    """Hold one against the other: readers scene by scene, recipes seed by seed.

    Of two readers the interval says how they would do on other scenes. Of two recipes it says how others of their seeds
    would do on these scenes (Welch 1947).
    """
    one, two = first.judgements[0], other.judgements[0]
    rights = one.verdict.exact > 0, two.verdict.exact > 0
    if len(first.judgements) > 1:
        nothing = rights[0].new_zeros(0).long()
        return Versus(_welch(first.scores, other.scores), nothing, nothing)
    found = difference(one.verdict.exact, two.verdict.exact, Kin(one.readings.sources))
    gained, lost = rights[1] & ~rights[0], rights[0] & ~rights[1]
    return Versus(found, gained.nonzero()[:, 0], lost.nonzero()[:, 0])


def letters(contenders: Sequence[Contender]) -> list[str]:
    """What they are called where names would be too long: A, B, ..."""
    return [chr(ord("A") + place) if place < 26 else str(place + 1) for place in range(len(contenders))]


def points(found: Difference) -> str:
    """A difference and its interval, in points of a hundred."""
    value, low, high = (f"{100 * share:+.2f}" for share in found[:3])
    return f"{value} ({low} to {high})"


def likely(p: float) -> str:
    """A chance, in few digits."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def in_words(found: Difference) -> str:
    """What a difference comes to, in words."""
    if not found.shown:
        return "no difference shown"
    return "better" if found.value > 0 else "worse"


def _welch(one: list[float], other: list[float]) -> Difference:
    from scipy.stats import ttest_ind

    value = mean(other) - mean(one)
    if stdev(one) == stdev(other) == 0:  # seeds that tie say nothing of how others would spread
        return Difference(value, -1.0, 1.0, 1.0)
    found = ttest_ind(other, one, equal_var=False)
    interval = found.confidence_interval(0.95)
    return Difference(value, float(interval.low), float(interval.high), float(found.pvalue))
