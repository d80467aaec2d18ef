"""Scaling studies: points and curves of a sweep's runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.evaluation.scaling_law import ScalingCurve, fit_power_law
from mnist_seq.reporting import curves as curve_plots
from mnist_seq.sweeps.scaling import scaling_curves
from tests.sweeps.conftest import write_run


def write_runs(folder: Path, runs: list[tuple[int, int, float]], **more: str) -> None:
    """Runs given by model.dim, seed and exact match."""
    for dim, seed, exact_match in runs:
        overrides = [f"model.dim={dim}"]
        write_run(folder / f"{dim}-{seed}", exact_match, overrides, seed, parameters=dim, flops=100 * dim, **more)


def test_points_average_seeds_and_are_sorted_by_cost(tmp_path: Path) -> None:
    write_runs(tmp_path, [(64, 0, 0.8), (32, 0, 0.6), (64, 1, 0.9), (32, 1, 0.5), (16, 0, 1.0)])
    ((points, frontier, law),) = scaling_curves(tmp_path).values()
    assert [(it.parameters, it.flops) for it in points] == [(32, 3200), (64, 6400)], "16 makes no errors"
    assert [it.error for it in points] == pytest.approx([0.45, 0.15])
    assert frontier == points
    assert law is None, "two points determine no fit"
    figure = curve_plots.scaling_law({"": ScalingCurve(points, points, fit_power_law(points))})
    assert [it.get_text() for it in figure.axes[0].get_legend().get_texts()][:2] == ["0 k parameters"] * 2


def test_configurations_of_equal_cost_give_the_same_law_in_any_order(tmp_path: Path) -> None:
    for order in (1, -1):
        folder = tmp_path / str(order)
        for number, (lr, exact_match) in enumerate([("1e-2", 0.5), ("1e-3", 0.7), ("1e-4", 0.6)][::order]):
            write_run(folder / str(number), exact_match, [f"optim.lr={lr}"], 0, flops=100)
        ((points, frontier, law),) = scaling_curves(folder).values()
        assert [it.error for it in points] == pytest.approx([0.3, 0.4, 0.5])
        assert (frontier, law) == (points[:1], None)


def test_runs_on_different_digits_lie_on_different_curves(tmp_path: Path) -> None:
    widths = [(16, 0.2), (32, 0.4), (64, 0.6)]
    write_runs(tmp_path / "mnist", [(dim, 0, exact) for dim, exact in widths], digits="mnist")
    write_runs(tmp_path / "uci", [(dim, 1, exact / 2) for dim, exact in widths], digits="uci", notice="NOT MNIST")
    curves = scaling_curves(tmp_path)
    errors = {condition: [it.error for it in curve.points] for condition, curve in curves.items()}
    assert errors == {
        "digits=mnist": pytest.approx([0.8, 0.6, 0.4]),
        "digits=uci": pytest.approx([0.9, 0.8, 0.7]),
    }
    assert all(curve.power_law for curve in curves.values())
    figure = curve_plots.scaling_law(curves, "NOT MNIST")
    assert [axes.get_title() for axes in figure.axes] == ["digits=mnist", "digits=uci"]
    assert figure.get_suptitle() == "NOT MNIST"
