"""What more arithmetic buys: errors of a sweep's runs against their training FLOPs, and the power law of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback

from mnist_seq.sweeps.members import Member, members, notices, over_seeds, under


class PowerLaw(NamedTuple):
    """error = scale * FLOPs ** -exponent, as far as that holds."""

    scale: float
    exponent: float
    spread: float
    """Standard error of the exponent."""

    def __call__(self, flops: float) -> float:
        return float(self.scale * flops**-self.exponent)


class Point(NamedTuple):
    """Runs of one choice, their seeds' mean."""

    name: str
    parameters: float
    flops: float
    """Of the whole training."""
    error: float
    """Share of val that was not read right."""


class Curve(NamedTuple):
    """Points that compare: judged on the same scenes, done under the same conditions."""

    points: list[Point]
    """Cheapest first."""
    best: list[Point]
    """Those that no cheaper one beats."""
    law: PowerLaw | None
    """Of the best, where there are three or more."""


class ScalingLaw(Callback):
    """When a multirun has ended: scaling.png in its directory, and each law in a line."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        from mnist_seq.figures import plots, trends

        directory = Path(config.hydra.sweep.dir)
        curves = curves_of(directory)
        if not curves:
            return
        notice = " ".join(notices(members(under(directory))))
        plots.save(trends.scaling(curves, notice), directory / "scaling.png")
        for condition, curve in curves.items():
            if law := curve.law:
                told = f"error = {law.scale:.3g} * FLOPs^-{law.exponent:.3f} (+- {law.spread:.3f})"
                among = f"along the {len(curve.best)} choices that no cheaper one beats"
                print(f"{told}, {among}" + (f", {condition}" if condition else ""))
        print(f"picture: {directory / 'scaling.png'}")


def curves_of(directory: Path) -> dict[str, Curve]:
    """Of the runs under a directory, by the conditions that no override names: errors under others do not compare."""
    found = members(under(directory))
    conditions = sorted({member.condition for member in found})
    curves = {it: _curve(points_of([member for member in found if member.condition == it])) for it in conditions}
    return {condition: curve for condition, curve in curves.items() if curve.points}


def points_of(found: list[Member]) -> list[Point]:
    """Of each choice, cheapest first; those that read all right have no place on a logarithmic axis."""
    points = [
        Point(name, figures["parameters"][0], figures["flops"][0], 1 - figures["exact_match"][0])
        for name, figures in over_seeds(found).items()
    ]
    return sorted((point for point in points if point.error > 0), key=lambda point: point.flops)


def _curve(points: list[Point]) -> Curve:
    best = frontier(points)
    return Curve(points, best, fit(best) if len(best) > 2 else None)


def frontier(points: list[Point]) -> list[Point]:
    """Those that no cheaper one beats."""
    best: list[Point] = []
    for point in points:
        if not best or point.error < best[-1].error:
            best.append(point)
    return best


def fit(points: list[Point]) -> PowerLaw:
    """The straight line through the logarithms, by least squares (Kaplan et al. 2020, appendix)."""
    import numpy as np
    from scipy.stats import linregress

    line = linregress(np.log([point.flops for point in points]), np.log([point.error for point in points]))
    return PowerLaw(float(np.exp(line.intercept)), -float(line.slope), float(line.stderr))
