"""Matplotlib figures of curves: training, sweeps, scaling laws, step times."""

from __future__ import annotations

from itertools import cycle
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator, PercentFormatter

from mnist_seq.evaluation.scaling_law import ScalingCurve
from mnist_seq.reporting.style import BLUE, GREY, PALETTE, new_panels


class StepTiming(NamedTuple):
    """Timings of a training step of one size."""

    size: int
    """Position on the axis that grows: scenes, patches or blocks."""
    seconds: list[float]
    """Wall-clock seconds of each repeat."""
    flops: float
    """FLOPs of the whole step, forward and backward."""


def training_curves(rows: list[dict[str, float]], notice: str = "") -> Figure:
    """Plot loss and validation accuracy against the step.

    Args:
        rows: of metrics.csv, each with `step` and the metrics logged there.
    """
    figure, (left, right) = new_panels(9, 3.6, 2, notice)
    for axes, key, label, color, marker in (
        (left, "train/loss", "train (objective)", GREY, ""),
        (left, "val/loss", "val (per token)", BLUE, ""),
        (right, "val/digit_accuracy", "digit accuracy", GREY, "o"),
        (right, "val/exact_match", "exact match", BLUE, "o"),
    ):
        logged = [row for row in rows if key in row]
        steps, values = [row["step"] for row in logged], [row[key] for row in logged]
        axes.plot(steps, values, marker=marker, markersize=3, label=label, color=color)
    left.set(xlabel="step", ylabel="loss (nats)", ylim=(0, None))
    right.set(xlabel="step", ylabel="val accuracy", ylim=(None, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (left, right):
        axes.legend(frameon=False)
    return figure


def step_time_scaling(measurements: dict[str, list[StepTiming]]) -> Figure:
    """Plot the time of a training step against model or batch size, and the time its FLOPs alone would take.

    The FLOP rate is that of the slowest step.

    Args:
        measurements: swept quantity -> timings, by increasing size.
    """
    figure, panels = new_panels(3.2 * len(measurements), 3.2, len(measurements))
    for axes, (axis, points) in zip(panels, measurements.items(), strict=True):
        sizes, flops = [point.size for point in points], np.array([point.flops for point in points])
        low, times, high = (1000 * np.array([at(point.seconds) for point in points]) for at in (min, median, max))
        flops_per_ms = flops[times.argmax()] / times.max()
        label = f"FLOPs at {flops_per_ms / 1e6:,.0f} GFLOP/s"
        axes.plot(sizes, flops / flops_per_ms, color=GREY, label=label)
        spread = [times - low, high - times]
        axes.errorbar(sizes, times, spread, color=BLUE, marker="o", markersize=3, label="training step")
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    return figure


def scaling_law(curves: dict[str, ScalingCurve], notice: str = "") -> Figure:
    """Plot error against training FLOPs, one line per model size, with the power law fitted to the Pareto frontier.

    Args:
        curves: by condition, each in a panel of its own.
    """
    figure, panels = new_panels(6 * len(curves), 4.2, len(curves), notice)
    for axes, (condition, (points, best, law)) in zip(panels, curves.items(), strict=True):
        sizes = sorted({point.parameters for point in points})
        for size in sizes:
            same = [point for point in points if point.parameters == size]
            flops, errors = [point.flops for point in same], [point.error for point in same]
            shade = str(0.75 - 0.6 * sizes.index(size) / max(1, len(sizes) - 1))
            axes.plot(flops, errors, "o-", color=shade, label=_format_params(size))
        if law:
            reach = [best[0].flops, best[-1].flops]
            name = f"error = {law.scale:.2g} FLOPs$^{{-{law.exponent:.2f}}}$"
            axes.plot(reach, [law(flops) for flops in reach], "--", color=BLUE, label=name)
        axes.set(xscale="log", xlabel="training FLOPs", ylabel="val error (1 - exact match)", title=condition)
        _log_error_axis(axes, [it.error for it in points])
        axes.legend(frameon=False, fontsize=8)
    return figure


def learning_curves(curves: dict[str, list[tuple[int, float]]]) -> Figure:
    """Plot validation error against training scenes.

    Args:
        curves: name -> (training scenes, exact match on val) pairs.
    """
    figure, (axes,) = new_panels(6, 4.2)
    for name, points in curves.items():
        axes.plot([scenes for scenes, _ in points], [1 - score for _, score in points], "o-", markersize=3, label=name)
    axes.set(xlabel="training scenes", ylabel="val error (1 - exact match)")
    _log_error_axis(axes, [1 - score for points in curves.values() for _, score in points])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend(frameon=False, fontsize=8)
    return figure


def hyperparameter_effect(key: str, scores: dict[str, list[tuple[str, float]]], notice: str = "") -> Figure:
    """Plot exact match against a hyperparameter, one dot per run, with a line through the means.

    Args:
        key: the hyperparameter.
        scores: condition -> (value of the hyperparameter, exact match) of each run; one line per condition.
    """
    figure, (axes,) = new_panels(4.2, 3.2, notice=notice)
    values = sorted({value for runs in scores.values() for value, _ in runs}, key=_numeric_sort_key)
    numbers = [_numeric_sort_key(value)[1] for value in values]
    numeric = all(not _numeric_sort_key(value)[0] for value in values)
    positions = dict(zip(values, numbers if numeric else range(len(values)), strict=True))
    for color, (condition, runs) in zip(cycle(PALETTE), scores.items(), strict=False):
        axes.scatter([positions[value] for value, _ in runs], [score for _, score in runs], 14, GREY, alpha=0.7)
        present = [value for value in values if value in dict(runs)]
        means = [fmean(score for other, score in runs if other == value) for value in present]
        axes.plot([positions[value] for value in present], means, "o-", markersize=4, color=color, label=condition)
    if len(scores) > 1:
        axes.legend(frameon=False, fontsize=8)
    if numeric and numbers[0] > 0 and numbers[-1] >= 8 * numbers[0]:
        axes.set_xscale("log")
    axes.set_xticks([positions[value] for value in values], values)
    axes.minorticks_off()
    axes.set(xlabel=key, ylabel="exact match, val")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def _numeric_sort_key(value: str) -> tuple[bool, float, str]:
    """Sort numbers before words."""
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, value


def _format_params(count: float) -> str:
    return f"{count / 1e6:.1f} M parameters" if count >= 1e6 else f"{count / 1e3:.0f} k parameters"


def _log_error_axis(axes: Axes, errors: list[float]) -> None:
    """Make the y axis logarithmic, in percent."""
    lowest, highest = max(1e-5, min(errors)), max(errors)
    axes.set_yscale("log")
    ticks = [digit * 10.0**power for power in range(-5, 0) for digit in (1, 2, 5)]
    axes.set_yticks([tick for tick in ticks if 0.4 * lowest <= tick <= 2.5 * highest])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0.6 * lowest, 1.3 * highest)
