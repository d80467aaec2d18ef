"""Scaling study of a sweep: val error of its runs against training FLOPs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from mnist_seq.evaluation.scaling_law import ScalingCurve, ScalingPoint, fit_scaling_curve
from mnist_seq.sweeps.sweep_runs import SweepRun, aggregate_over_seeds, find_runs, load_runs, notices


class ScalingLawPlot(Callback):
    """Hydra callback: at the end of a multirun, write scaling.png to its directory and print each fitted law."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        from mnist_seq.reporting import curves, plots

        directory = Path(config.hydra.sweep.dir)
        curve_by_condition = scaling_curves(directory)
        if not curve_by_condition:
            return
        notice = " ".join(notices(load_runs(find_runs(directory))))
        plots.save_figure(curves.scaling_law(curve_by_condition, notice), directory / "scaling.png")
        for condition, curve in curve_by_condition.items():
            if law := curve.power_law:
                formula = f"error = {law.scale:.3g} * FLOPs^-{law.exponent:.3f} (+- {law.exponent_stderr:.3f})"
                frontier = f"on the Pareto frontier of {len(curve.frontier)} configs"
                print(f"{formula}, {frontier}" + (f", {condition}" if condition else ""))
        print(f"plot: {directory / 'scaling.png'}")


def scaling_curves(directory: Path) -> dict[str, ScalingCurve]:
    """Scaling curves of the runs under a directory, by condition.

    A condition is what runs differ in although no override says so, such as the digit source: errors under different
    conditions do not compare. Conditions without a point are left out.
    """
    runs = load_runs(find_runs(directory))
    groups = {it: [run for run in runs if run.condition == it] for it in sorted({run.condition for run in runs})}
    curves = {condition: fit_scaling_curve(scaling_points(group)) for condition, group in groups.items()}
    return {condition: curve for condition, curve in curves.items() if curve.points}


def scaling_points(runs: list[SweepRun]) -> list[ScalingPoint]:
    """One point per configuration, cheapest first; configurations without errors have no place on a log axis."""
    points = [
        ScalingPoint(name, metrics["parameters"][0], metrics["flops"][0], 1 - metrics["exact_match"][0])
        for name, metrics in aggregate_over_seeds(runs).items()
    ]
    return sorted((point for point in points if point.error > 0), key=lambda point: (point.flops, point.error))
