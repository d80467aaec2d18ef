"""How a training step's time grows with batch, tokens and depth, and how its arithmetic does."""

from __future__ import annotations

from collections.abc import Sequence
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
    "patches": (1, 4, 16, 64, 196),
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
    """Steps of growing size, on grids, along each axis; those of an axis in turn."""
    return {axis: _along(axis, sizes, config) for axis, sizes in AXES.items()}


def growth(config: BenchConfig) -> list[Figure]:
    """A training step on grids as batch, patches and depth grow; drawn in a picture, arithmetic beside."""
    from mnist_seq.figures import plots, trends

    measured = points(config)
    plots.save(trends.growth(measured), Path(config.to) / "growth.png")
    return [
        figure
        for axis, along in measured.items()
        for point in along
        for figure in (
            spread(f"{point.size} {axis}", "ms a step", (1000 * it for it in point.seconds)),
            spread(f"{point.size} {axis}", "GFLOP/s", (point.flops / it / 1e9 for it in point.seconds)),
        )
    ]


def _along(axis: str, sizes: Sequence[int], config: BenchConfig) -> list[Point]:
    steps, flops = {}, {}
    for size in sizes:
        sized = replace(config, batch_size=size) if axis == "batch" else config
        module = build("enc_dec", "grid", sized, *_overrides(axis, size))
        steps[str(size)] = default_step(module, "grid", sized)
        flops[size] = 3 * cost.per_scene(module.model)[""].flops * sized.batch_size
    seconds = in_turn(steps, min(config.repeats, _REPEATS))
    return [Point(size, seconds[str(size)], flops[size]) for size in sizes]


def _overrides(axis: str, size: int) -> list[str]:
    overrides = {"patches": [f"model.patch={56 // isqrt(size)}"], "encoder blocks": [f"model.encoder_depth={size}"]}
    return overrides.get(axis, [])
