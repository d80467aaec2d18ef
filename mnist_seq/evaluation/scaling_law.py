"""Scaling laws: the Pareto frontier of error against training FLOPs, and a power law fitted to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class PowerLaw(NamedTuple):
    """error = scale * FLOPs ** -exponent."""

    scale: float
    exponent: float
    exponent_stderr: float
    """Standard error of the exponent."""

    def __call__(self, flops: float) -> float:
        """The error, as a fraction, that the law predicts for this many training FLOPs."""
        return float(self.scale * flops**-self.exponent)


class ScalingPoint(NamedTuple):
    """One configuration, averaged over its seeds."""

    name: str
    parameters: float
    flops: float
    """FLOPs of the whole training."""
    error: float
    """1 - exact match on val, in 0..1."""


class ScalingCurve(NamedTuple):
    """Comparable points: evaluated on the same scenes and trained under the same conditions."""

    points: list[ScalingPoint]
    """All configurations, cheapest first."""
    frontier: list[ScalingPoint]
    """The Pareto frontier of the points."""
    power_law: PowerLaw | None
    """Fitted to the frontier; None where that has fewer than three points."""


def fit_scaling_curve(points: list[ScalingPoint]) -> ScalingCurve:
    """Find the frontier of points, cheapest first, and fit a power law to it."""
    frontier = pareto_frontier(points)
    return ScalingCurve(points, frontier, fit_power_law(frontier) if len(frontier) > 2 else None)


def pareto_frontier(points: list[ScalingPoint]) -> list[ScalingPoint]:
    """The points with a lower error than every cheaper one; `points` are sorted by FLOPs."""
    frontier: list[ScalingPoint] = []
    for point in points:
        if not frontier or point.error < frontier[-1].error:
            frontier.append(point)
    return frontier


def fit_power_law(points: list[ScalingPoint]) -> PowerLaw:
    """Fit a line to log(error) against log(FLOPs) by least squares (Kaplan et al. 2020, appendix)."""
    from scipy.stats import linregress

    line = linregress(np.log([point.flops for point in points]), np.log([point.error for point in points]))
    return PowerLaw(float(np.exp(line.intercept)), -float(line.slope), float(line.stderr))
