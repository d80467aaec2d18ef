"""What a sweep's runs say of scaling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnist_seq.reporting import curves as curve_plots
from mnist_seq.sweeps import scaling
from mnist_seq.sweeps.scaling import ScalingCurve, ScalingPoint
from mnist_seq.sweeps.sweep_runs import VAL_METRICS


def test_a_power_law_is_found_again() -> None:
    points = [ScalingPoint("", 1e5, flops, 300 * flops**-0.25) for flops in (1e12, 3e12, 1e13, 1e14)]
    law = scaling.fit_power_law(points)
    assert law.exponent == pytest.approx(0.25)
    assert law.scale == pytest.approx(300)
    assert law.exponent_stderr == pytest.approx(0, abs=1e-6)
    assert law(1e13) == pytest.approx(300 * 1e13**-0.25)


def test_the_frontier_is_what_no_cheaper_run_beats() -> None:
    points = [
        ScalingPoint(name, 1, flops, error) for name, flops, error in (("a", 1, 0.5), ("b", 2, 0.6), ("c", 3, 0.2))
    ]
    assert [point.name for point in scaling.pareto_frontier(points)] == ["a", "c"]


def finished(folder: Path, runs: list[tuple[int, int, float]], **more: str) -> None:
    """Runs of a width and seed each, and what share of val they read right."""
    for dim, seed, exact in runs:
        val = dict.fromkeys(VAL_METRICS, 0.5) | {"exact_match": exact}
        metrics = {"val": val, "seed": seed, "overrides": [f"model.dim={dim}"], "parameters": dim, "flops": 100 * dim}
        run = folder / f"{dim}-{seed}"
        run.mkdir(parents=True)
        (run / "metrics.json").write_text(json.dumps(metrics | more))


def test_points_are_of_seeds_together_and_cheapest_first(tmp_path: Path) -> None:
    finished(tmp_path, [(64, 0, 0.8), (32, 0, 0.6), (64, 1, 0.9), (32, 1, 0.5), (16, 0, 1.0)])
    curves = scaling.scaling_curves(tmp_path)
    ((points, best, law),) = curves.values()
    assert [(it.parameters, it.flops) for it in points] == [(32, 3200), (64, 6400)], "16 reads all right"
    assert [it.error for it in points] == pytest.approx([0.45, 0.15])
    assert best == points
    assert law is None, "of two"
    figure = curve_plots.scaling_law({"": ScalingCurve(points, points, scaling.fit_power_law(points))})
    assert [it.get_text() for it in figure.axes[0].get_legend().get_texts()][:2] == ["0 k parameters"] * 2


def test_errors_on_other_digits_are_on_another_curve(tmp_path: Path) -> None:
    widths = [(16, 0.2), (32, 0.4), (64, 0.6)]
    finished(tmp_path / "some", [(dim, 0, exact) for dim, exact in widths], digits="mnist")
    finished(tmp_path / "others", [(dim, 1, exact / 2) for dim, exact in widths], digits="uci", notice="NOT MNIST")
    curves = scaling.scaling_curves(tmp_path)
    errors = {condition: [it.error for it in curve.points] for condition, curve in curves.items()}
    assert errors == {
        "digits=mnist": pytest.approx([0.8, 0.6, 0.4]),
        "digits=uci": pytest.approx([0.9, 0.8, 0.7]),
    }
    assert all(curve.power_law for curve in curves.values())
    figure = curve_plots.scaling_law(curves, "NOT MNIST")
    assert [axes.get_title() for axes in figure.axes] == ["digits=mnist", "digits=uci"]
    assert figure.get_suptitle() == "NOT MNIST"
