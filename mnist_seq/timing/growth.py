"""How a training step's time grows with batch, tokens and depth, and how its arithmetic does."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import NamedTuple

from mnist_seq.config import BenchConfig
from mnist_seq.nn import cost
from mnist_seq.timing.clock import Figure, in_turn, spread
from mnist_seq.timing.models import build, default_step

_REPEATS = 7
AXES = {
    "batch": (8, 16, 32, 64, 128, 256, 512),
    "patches": (1, 4, 16, 49, 64, 196),
    "encoder blocks": (1, 2, 4, 8, 16),
}
"""What grows, and how much of it there is."""


class Point(NamedTuple):
    """A training step of a size."""

    size: int
    seconds: list[float]
    flops: float
    """Of the whole step."""


def points(config: BenchConfig) -> dict[str, list[Point]]:
    """Steps of growing size, on grids, along each axis."""
    return {axis: [_point(axis, size, config) for size in sizes] for axis, sizes in AXES.items()}


def growth(config: BenchConfig) -> list[Figure]:
    """A training step on grids as batch, patches and depth grow; drawn in a picture, arithmetic beside."""
    from mnist_seq.figures import plots

    measured = points(config)
    plots.save(plots.growth(measured), Path(config.to) / "growth.png")
    return [
        figure
        for axis, along in measured.items()
        for point in along
        for figure in (
            spread(f"{point.size} {axis}", "ms a step", (1000 * it for it in point.seconds)),
            spread(f"{point.size} {axis}", "GFLOP/s", (point.flops / it / 1e9 for it in point.seconds)),
        )
    ]


def _point(axis: str, size: int, config: BenchConfig) -> Point:
    overrides = {"patches": [f"model.patch={56 // isqrt(size)}"], "encoder blocks": [f"model.encoder_depth={size}"]}
    if axis == "batch":
        config = replace(config, batch_size=size)
    module = build("enc_dec", "grid", config, *overrides.get(axis, []))
    seconds = in_turn({"step": default_step(module, "grid", config)}, min(config.repeats, _REPEATS))["step"]
    return Point(size, seconds, 3 * cost.per_scene(module.model)[""].flops * config.batch_size)
