"""What more arithmetic buys: errors of a sweep's runs against their training FLOPs, and the power law of the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback

from mnist_seq.sweeps.table import members, over_seeds, under


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


class ScalingLaw(Callback):
    """When a multirun has ended: scaling.png in its directory, and the law in a line."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        from mnist_seq.figures import plots, trends

        directory = Path(config.hydra.sweep.dir)
        points = points_of(directory)
        if not points:
            return
        best = frontier(points)
        law = fit(best) if len(best) > 2 else None
        plots.save(trends.scaling(points, best, law), directory / "scaling.png")
        if law:
            told = f"error = {law.scale:.3g} * FLOPs^-{law.exponent:.3f} (+- {law.spread:.3f})"
            print(f"{told}, along the {len(best)} choices that no cheaper one beats")
        print(f"picture: {directory / 'scaling.png'}")


def points_of(directory: Path) -> list[Point]:
    """Of the runs under a directory, cheapest first; those that read all right have no place on a logarithmic axis."""
    groups = over_seeds(members(under(directory))).items()
    points = [
        Point(name, figures["parameters"][0], figures["flops"][0], 1 - figures["exact_match"][0])
        for name, figures in groups
    ]
    return sorted((point for point in points if point.error > 0), key=lambda point: point.flops)


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
