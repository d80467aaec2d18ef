"""How a training step's time grows with batch, tokens and depth, and how its arithmetic does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import NamedTuple

from mnist_seq.benchmarks.timer import Measurement, summarize, time_interleaved
from mnist_seq.benchmarks.training import build_module, make_default_step
from mnist_seq.config import BenchConfig
from mnist_seq.nn.flops import costs_per_scene

_REPEATS = 7
AXES = {
    "batch": (8, 16, 32, 64, 128, 256, 512),
    "patches": (1, 4, 16, 64, 196),
    "encoder blocks": (1, 2, 4, 8, 16),
}
"""What grows, and how much of it there is."""


class StepTiming(NamedTuple):
    """A training step of a size."""

    size: int
    seconds: list[float]
    flops: float
    """Of the whole step."""


def time_steps(config: BenchConfig) -> dict[str, list[StepTiming]]:
    """Steps of growing size, on grids, along each axis; those of an axis in turn."""
    return {axis: _time_axis(axis, sizes, config) for axis, sizes in AXES.items()}


def step_scaling(config: BenchConfig) -> list[Measurement]:
    """A training step on grids as batch, patches and depth grow; drawn in a picture, arithmetic beside."""
    from mnist_seq.reporting import curves, plots

    measured = time_steps(config)
    plots.save_figure(curves.step_time_scaling(measured), Path(config.output_dir) / "growth.png")
    return [
        figure
        for axis, along in measured.items()
        for point in along
        for figure in (
            summarize(f"{point.size} {axis}", "ms a step", (1000 * it for it in point.seconds)),
            summarize(f"{point.size} {axis}", "GFLOP/s", (point.flops / it / 1e9 for it in point.seconds)),
        )
    ]


def _time_axis(axis: str, sizes: Sequence[int], config: BenchConfig) -> list[StepTiming]:
    steps, flops = {}, {}
    for size in sizes:
        sized = replace(config, batch_size=size) if axis == "batch" else config
        module = build_module("enc_dec", "grid", sized, *_overrides(axis, size))
        steps[str(size)] = make_default_step(module, "grid", sized)
        flops[size] = 3 * costs_per_scene(module.model)[""].flops * sized.batch_size
    seconds = time_interleaved(steps, min(config.repeats, _REPEATS))
    return [StepTiming(size, seconds[str(size)], flops[size]) for size in sizes]


def _overrides(axis: str, size: int) -> list[str]:
    overrides = {
        "patches": [f"model.patch_size={56 // isqrt(size)}"],
        "encoder blocks": [f"model.encoder_depth={size}"],
    }
    return overrides.get(axis, [])
