"""How sure a figure is, where scenes share source digits: a digit that is misread is wrong in each scene that shows it.

The variance of a mean of errors is the sum of their products over all pairs of scenes that share a digit, by their
number squared (a cluster-robust variance by overlapping groups, Cameron, Gelbach & Miller 2011), but for a
correction that is nothing unless most scenes share digits. It says how many independent scenes these are worth, and
intervals that behave near 0 and 1 are taken with that number.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_Z95 = 1.959964
"""Of a normal distribution, 95 % lies nearer to its middle, in standard deviations."""
FloatArray = NDArray[np.float64]


class SharedSources:
    """Which scenes share a source digit; one without any goes with itself alone.

    Args:
        sources: B N, indices of each scene's source digits, negative where there is none.
    """

    def __init__(self, sources: Tensor) -> None:
        from scipy.sparse import csr_array, eye_array

        held = sources.cpu().numpy()
        scenes = len(held)
        scene, slot = np.nonzero(held >= 0)
        known, digit = np.unique(held[scene, slot], return_inverse=True)
        alone = np.setdiff1d(np.arange(scenes), scene)
        scene, digit = np.append(scene, alone), np.append(digit, len(known) + np.arange(len(alone)))
        shows = csr_array((np.ones(len(scene)), (scene, digit)), shape=(scenes, len(known) + len(alone)))
        shared: Any = shows @ shows.T + eye_array(scenes)
        shared.data[:] = 1  # a pair counts once, however many digits it shares
        self._shows, self._pairs = shows, shared
        self.density = (shared.nnz - scenes) / scenes**2
        """Share of all pairs of scenes that share a digit."""

    def variance(self, errors: FloatArray) -> float:
        """Of the sum of errors that add up to 0: their products over all pairs of scenes that share a digit.

        That they add up to 0 takes away as much as the density says, which is given back. It is never less than the
        variance of independent scenes.
        """
        shared = float(errors @ (self._pairs @ errors)) / max(1 - self.density, 0.05)
        return max(shared, float(errors @ errors))

    def num_distinct_sources(self, counts: FloatArray) -> float:
        """How many of what is counted show source digits of their own.

        Args:
            counted: how many in each scene.
        """
        shown = self._shows[counts > 0]
        return float(len(np.unique(shown.indices)) * counts.sum() / shown.nnz)


class Proportion(NamedTuple):
    """So many of so many."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    total: float


class Difference(NamedTuple):
    """How much more often the second of two readers is right."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    p_value: float
    """Chance of as large a difference, either way, between readers that are equally good."""

    @property
    def significant(self) -> bool:
        """Whether there is one."""
        return self.low > 0 or self.high < 0


def proportion_with_interval(correct: Tensor, total: Tensor, shared_sources: SharedSources) -> Proportion:
    """sum(right) / sum(total) with a Wilson interval (Wilson 1927); of nothing, all is right.

    Args:
        right: B, what is counted in each scene.
        total: B, out of how many.
    """
    tops, bottoms = correct.double().cpu().numpy(), total.double().cpu().numpy()
    whole = float(bottoms.sum())
    if not whole:
        return Proportion(1.0, 0.0, 1.0, 0.0)
    value = float(tops.sum()) / whole
    worth, errors = shared_sources.num_distinct_sources(bottoms), tops - value * bottoms
    if not np.allclose(errors, 0):  # where nothing varies, nothing else is known
        worth = value * (1 - value) / shared_sources.variance(errors / whole)
    return Proportion(value, *wilson_interval(value, min(worth, whole)), whole)


def paired_difference(baseline: Tensor, other: Tensor, shared_sources: SharedSources) -> Difference:
    """Of two readers of the same scenes, by those that only one of them reads right.

    The interval is Wald's with half a scene more in each of the four cells (Agresti & Min 2005). The test is McNemar's
    with the variance of scenes that share digits (Durkalski et al. 2003); where they share none, McNemar's own.

    Args:
        one: B, 1 where the first reader is right.
        other: B, the same of the second.
    """
    errors = other.double().cpu().numpy() - baseline.double().cpu().numpy()
    number, value = len(errors), float(errors.mean())
    gained, lost = float((errors > 0).sum()), float((errors < 0).sum())
    around = errors - value
    worth = shared_sources.num_distinct_sources(np.ones(number)) / number  # of a scene, in independent ones
    if around.any():
        worth = float(around @ around) / shared_sources.variance(around)
    p = math.erfc(abs(gained - lost) / math.sqrt(2 * (gained + lost) / worth)) if gained + lost else 1.0
    scenes, gained, lost = worth * number + 2, worth * gained + 0.5, worth * lost + 0.5
    middle = (gained - lost) / scenes
    reach = _Z95 * math.sqrt((gained + lost) / scenes - middle**2) / math.sqrt(scenes)
    return Difference(value, max(-1.0, middle - reach), min(1.0, middle + reach), p)


def wilson_interval(proportion: float, num_trials: float) -> tuple[float, float]:
    """95 % interval of a share seen in so many independent trials (Wilson 1927)."""
    centre = (proportion + _Z95 * _Z95 / (2 * num_trials)) / (1 + _Z95 * _Z95 / num_trials)
    reach = (
        _Z95
        / (1 + _Z95 * _Z95 / num_trials)
        * math.sqrt(proportion * (1 - proportion) / num_trials + (_Z95 / (2 * num_trials)) ** 2)
    )
    return max(0.0, centre - reach), min(1.0, centre + reach)
