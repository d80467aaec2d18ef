"""What more arithmetic buys: errors of a sweep's runs against their training FLOPs, and the power law of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback

from mnist_seq.sweeps.sweep_runs import SweepRun, aggregate_over_seeds, find_runs, load_runs, notices


class PowerLaw(NamedTuple):
    """error = scale * FLOPs ** -exponent, as far as that holds."""

    scale: float
    exponent: float
    exponent_stderr: float
    """Standard error of the exponent."""

    def __call__(self, flops: float) -> float:
        return float(self.scale * flops**-self.exponent)


class ScalingPoint(NamedTuple):
    """Runs of one choice, their seeds' mean."""

    name: str
    parameters: float
    flops: float
    """Of the whole training."""
    error: float
    """Share of val that was not read right."""


class ScalingCurve(NamedTuple):
    """Points that compare: judged on the same scenes, done under the same conditions."""

    points: list[ScalingPoint]
    """Cheapest first."""
    frontier: list[ScalingPoint]
    """Those that no cheaper one beats."""
    power_law: PowerLaw | None
    """Of the best, where there are three or more."""


class ScalingLawPlot(Callback):
    """When a multirun has ended: scaling.png in its directory, and each law in a line."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        from mnist_seq.reporting import curves, plots

        directory = Path(config.hydra.sweep.dir)
        fitted = scaling_curves(directory)
        if not fitted:
            return
        notice = " ".join(notices(load_runs(find_runs(directory))))
        plots.save_figure(curves.scaling_law(fitted, notice), directory / "scaling.png")
        for condition, curve in fitted.items():
            if law := curve.power_law:
                told = f"error = {law.scale:.3g} * FLOPs^-{law.exponent:.3f} (+- {law.exponent_stderr:.3f})"
                among = f"along the {len(curve.frontier)} choices that no cheaper one beats"
                print(f"{told}, {among}" + (f", {condition}" if condition else ""))
        print(f"picture: {directory / 'scaling.png'}")


def scaling_curves(directory: Path) -> dict[str, ScalingCurve]:
    """Of the runs under a directory, by the conditions that no override names: errors under others do not compare."""
    found = load_runs(find_runs(directory))
    conditions = sorted({member.condition for member in found})
    curves = {
        it: _fit_curve(scaling_points([member for member in found if member.condition == it])) for it in conditions
    }
    return {condition: curve for condition, curve in curves.items() if curve.points}


def scaling_points(runs: list[SweepRun]) -> list[ScalingPoint]:
    """Of each choice, cheapest first; those that read all right have no place on a logarithmic axis."""
    points = [
        ScalingPoint(name, figures["parameters"][0], figures["flops"][0], 1 - figures["exact_match"][0])
        for name, figures in aggregate_over_seeds(runs).items()
    ]
    return sorted((point for point in points if point.error > 0), key=lambda point: point.flops)


def _fit_curve(points: list[ScalingPoint]) -> ScalingCurve:
    best = pareto_frontier(points)
    return ScalingCurve(points, best, fit_power_law(best) if len(best) > 2 else None)


def pareto_frontier(points: list[ScalingPoint]) -> list[ScalingPoint]:
    """Those that no cheaper one beats."""
    best: list[ScalingPoint] = []
    for point in points:
        if not best or point.error < best[-1].error:
            best.append(point)
    return best


def fit_power_law(points: list[ScalingPoint]) -> PowerLaw:
    """The straight line through the logarithms, by least squares (Kaplan et al. 2020, appendix)."""
    import numpy as np
    from scipy.stats import linregress

    line = linregress(np.log([point.flops for point in points]), np.log([point.error for point in points]))
    return PowerLaw(float(np.exp(line.intercept)), -float(line.slope), float(line.stderr))
