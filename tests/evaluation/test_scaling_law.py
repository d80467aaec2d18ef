"""Scaling laws: the Pareto frontier and the fitted power law."""

from __future__ import annotations

import pytest

from mnist_seq.evaluation.scaling_law import ScalingPoint, fit_power_law, pareto_frontier


def test_fit_recovers_an_exact_power_law() -> None:
    points = [ScalingPoint("", 1e5, flops, 300 * flops**-0.25) for flops in (1e12, 3e12, 1e13, 1e14)]
    law = fit_power_law(points)
    assert law.exponent == pytest.approx(0.25)
    assert law.scale == pytest.approx(300)
    assert law.exponent_stderr == pytest.approx(0, abs=1e-6)
    assert law(1e13) == pytest.approx(300 * 1e13**-0.25)


def test_pareto_frontier_holds_the_points_that_no_cheaper_one_beats() -> None:
    points = [
        ScalingPoint(name, 1, flops, error) for name, flops, error in (("a", 1, 0.5), ("b", 2, 0.6), ("c", 3, 0.2))
    ]
    assert [point.name for point in pareto_frontier(points)] == ["a", "c"]
