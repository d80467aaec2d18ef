"""Confidence intervals for scenes that share source digits: a hard digit is misread in every scene that shows it.

The variance of a mean of errors is the sum of their products over all pairs of scenes, weighted by how many digits a
pair shares, divided by the squared number of scenes. This is a cluster-robust variance for overlapping groups (Cameron,
Gelbach & Miller 2011), up to a correction that only matters where most scenes share digits. It is computed from the sum
of errors for each digit, so time and memory grow with the number of scenes, not of pairs. The variance gives an
effective number of independent scenes, which goes into intervals that behave well near 0 and 1.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_Z95 = 1.959964
"""97.5 % quantile of the standard normal distribution."""
FloatArray = NDArray[np.float64]


class SharedSources:
    """Which scenes share a source digit.

    Args:
        sources: B N, index of each scene's source digits, negative in empty slots. A scene without any source digit
            shares none.
    """

    def __init__(self, sources: Tensor) -> None:
        from scipy.sparse import csr_array

        source_ids, num_scenes = sources.cpu().numpy().copy(), len(sources)
        is_empty = (source_ids < 0).all(1)
        source_ids[is_empty, 0] = source_ids.max() + 1 + np.arange(is_empty.sum())  # a source of its own
        scene, slot = np.nonzero(source_ids >= 0)
        distinct, digit = np.unique(source_ids[scene, slot], return_inverse=True)
        incidence: Any = csr_array((np.ones(len(scene)), (scene, digit)), shape=(num_scenes, len(distinct)))
        incidence.data[:] = 1  # a scene may show a digit several times
        self._incidence, self._num_digits = incidence, incidence.sum(1)
        num_pairs = (incidence.sum(0) ** 2).sum() - self._num_digits.sum()
        self.density = float(num_pairs) / num_scenes**2
        """Pairs of scenes that share a digit, counted once for each, as a fraction of all pairs."""

    def variance(self, errors: FloatArray) -> float:
        """Variance of the sum of errors with mean 0: their products over all pairs of scenes, for each shared digit.

        Centring the errors lowers the sum by a fraction of `density`, which is corrected for. The result is never
        below the variance of independent scenes.

        Args:
            errors: B, deviations from their mean.
        """
        independent = float(errors @ errors)
        # the squared sum for a digit holds each scene's own square, which belongs into the total once
        per_digit = self._incidence.T @ errors
        pairs = float(per_digit @ per_digit) - float(self._num_digits @ errors**2)
        return max((independent + pairs) / max(1 - self.density, 0.05), independent)

    def num_distinct_sources(self, counts: FloatArray) -> float:
        """The number of counted items that come from distinct source digits.

        Args:
            counts: B, items per scene.
        """
        shown = self._incidence[counts > 0]
        return float(len(np.unique(shown.indices)) * counts.sum() / shown.nnz)

    def is_one_source(self, counts: FloatArray) -> bool:
        """Whether the scenes that have counted items show one and the same source digit.

        Args:
            counts: B, items per scene.
        """
        shown = self._incidence[counts > 0].indices
        return bool((shown == shown[0]).all())


class Proportion(NamedTuple):
    """A proportion, in [0, 1], with its 95 % confidence interval."""

    value: float
    low: float
    high: float
    total: float
    """The denominator."""


class Difference(NamedTuple):
    """Accuracy of a second model minus that of the first, in [-1, 1], with its 95 % confidence interval."""

    value: float
    low: float
    high: float
    p_value: float
    """Two-sided."""

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def proportion_with_interval(correct: Tensor, total: Tensor, shared_sources: SharedSources) -> Proportion:
    """Compute sum(correct) / sum(total) with a Wilson interval (Wilson 1927); 0 / 0 counts as 1.

    Args:
        correct: B, correct items per scene.
        total: B, items per scene.
        shared_sources: which of these scenes share source digits.
    """
    numerators, denominators = correct.double().cpu().numpy(), total.double().cpu().numpy()
    denominator = float(denominators.sum())
    if not denominator:
        return Proportion(1.0, 0.0, 1.0, 0.0)
    value = float(numerators.sum()) / denominator
    effective_size, errors = shared_sources.num_distinct_sources(denominators), numerators - value * denominators
    # without any variation, or of a single digit or writer, only the number of distinct ones is known
    if not np.allclose(errors, 0) and not shared_sources.is_one_source(denominators):
        effective_size = value * (1 - value) / shared_sources.variance(errors / denominator)
    return Proportion(value, *wilson_interval(value, min(effective_size, denominator)), denominator)


def paired_difference(baseline: Tensor, other: Tensor, shared_sources: SharedSources) -> Difference:
    """Compare two models on the same scenes, by the scenes that only one of them predicts correctly.

    The interval is Wald's with half a scene added to each of the four cells (Agresti & Min 2005), with a variance for
    clustered scenes (Durkalski et al. 2003). The test is Wald's with the same variance, so that the two agree.

    Args:
        baseline: B, 1 where the first model is correct, else 0.
        other: B, the same for the second model.
        shared_sources: which of these scenes share source digits.
    """
    errors = other.double().cpu().numpy() - baseline.double().cpu().numpy()
    num_scenes, value = len(errors), float(errors.mean())
    gained, lost = float((errors > 0).sum()), float((errors < 0).sum())
    centred = errors - value
    # independent scenes per scene
    design_factor = shared_sources.num_distinct_sources(np.ones(num_scenes)) / num_scenes
    if centred.any():
        design_factor = float(centred @ centred) / shared_sources.variance(centred)
    total, gained, lost = design_factor * num_scenes + 2, design_factor * gained + 0.5, design_factor * lost + 0.5
    centre = (gained - lost) / total
    standard_error = math.sqrt(((gained + lost) / total - centre**2) / total)
    low, high = max(-1.0, centre - _Z95 * standard_error), min(1.0, centre + _Z95 * standard_error)
    return Difference(value, low, high, p_value=math.erfc(abs(centre) / standard_error / math.sqrt(2)))


def wilson_interval(proportion: float, num_trials: float) -> tuple[float, float]:
    """Compute the 95 % interval of a proportion of independent trials (Wilson 1927)."""
    shrinkage, variance = 1 + _Z95 * _Z95 / num_trials, proportion * (1 - proportion) / num_trials
    centre = (proportion + _Z95 * _Z95 / (2 * num_trials)) / shrinkage
    half_width = _Z95 / shrinkage * math.sqrt(variance + (_Z95 / (2 * num_trials)) ** 2)
    return max(0.0, centre - half_width), min(1.0, centre + half_width)
