"""Suite step_scaling: time of a training step as batch, number of patches and depth grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path

from mnist_seq.benchmarks.timer import Measurement, summarize, time_interleaved
from mnist_seq.benchmarks.training import build_module, make_default_step
from mnist_seq.config import BenchConfig
from mnist_seq.nn.flops import costs_per_scene
from mnist_seq.reporting import curves, plots
from mnist_seq.reporting.curves import StepTiming

_MAX_REPEATS = 7
AXES = {
    "batch": (8, 16, 32, 64, 128, 256, 512),
    "patches": (1, 4, 16, 64, 196),
    "encoder blocks": (1, 2, 4, 8, 16),
}
"""Axis -> sizes."""


def step_scaling(config: BenchConfig) -> list[Measurement]:
    """A training step on grids as batch, patches and depth grow; plotted beside its arithmetic."""
    timings = {axis: _time_axis(axis, sizes, config) for axis, sizes in AXES.items()}
    plots.save_figure(curves.step_time_scaling(timings), Path(config.output_dir) / "step_scaling.png")
    return [
        measurement
        for axis, steps in timings.items()
        for step in steps
        for measurement in (
            summarize(f"{step.size} {axis}", "ms/step", (1000 * seconds for seconds in step.seconds)),
            summarize(f"{step.size} {axis}", "GFLOP/s", (step.flops / seconds / 1e9 for seconds in step.seconds)),
        )
    ]


def _time_axis(axis: str, sizes: Sequence[int], config: BenchConfig) -> list[StepTiming]:
    """Time the steps of one axis, interleaved."""
    workloads, flops = {}, {}
    for size in sizes:
        sized_config = replace(config, batch_size=size) if axis == "batch" else config
        module = build_module("enc_dec", "grid", sized_config, *_overrides(axis, size))
        workloads[str(size)] = make_default_step(module, "grid", "light", sized_config)
        # The backward pass takes twice the FLOPs of the forward pass.
        flops[size] = 3 * costs_per_scene(module.model)[""].flops * sized_config.batch_size
    seconds = time_interleaved(workloads, min(config.repeats, _MAX_REPEATS))
    return [StepTiming(size, seconds[str(size)], flops[size]) for size in sizes]


def _overrides(axis: str, size: int) -> list[str]:
    overrides = {
        "patches": [f"model.patch_size={56 // isqrt(size)}"],
        "encoder blocks": [f"model.encoder_depth={size}"],
    }
    return overrides.get(axis, [])
