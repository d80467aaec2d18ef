"""What changes with what: curves of training, of sweeps, of cost."""

from __future__ import annotations

from itertools import cycle
from statistics import fmean, median
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullLocator, PercentFormatter

from mnist_seq.evaluation.scaling_law import ScalingCurve
from mnist_seq.reporting.plots import BLUE, GREY, new_figure, style_axes

PALETTE = (BLUE, "tab:orange", "tab:green", "tab:purple")


class StepTiming(NamedTuple):
    """Timings of a training step of one size."""

    size: int
    """Position on the axis that grows: scenes, patches or blocks."""
    seconds: list[float]
    """Wall-clock seconds of each repeat."""
    flops: float
    """FLOPs of the whole step, forward and backward."""


def training_curves(rows: list[dict[str, float]], notice: str = "") -> Figure:
    """Loss and exact match against the step.

    Args:
        rows: of metrics.csv.
    """
    figure = new_figure(9, 3.6, notice)
    left, right = figure.subplots(1, 2)
    for key, label, colour in (("train/loss", "train, as optimised", GREY), ("val/loss", "val, a token", BLUE)):
        left.plot(*_series(rows, key), label=label, color=colour)
    left.set(xlabel="step", ylabel="loss, nats", ylim=(0, None))
    left.legend(frameon=False)
    for key, label, colour in (("val/digit_accuracy", "digits", GREY), ("val/exact_match", "exact match", BLUE)):
        right.plot(*_series(rows, key), marker="o", markersize=3, label=label, color=colour)
    right.set(xlabel="step", ylabel="val", ylim=(None, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(frameon=False)
    for axes in (left, right):
        style_axes(axes)
    return figure


def step_time_scaling(measurements: dict[str, list[StepTiming]]) -> Figure:
    """Time of a training step against what grows, and what its arithmetic would take at the rate of the slowest.

    Args:
        measured: axis -> steps of growing size.
    """
    figure = new_figure(3.2 * len(measurements), 3.2, "")
    panels = figure.subplots(1, len(measurements), squeeze=False).flat
    for axes, (axis, points) in zip(panels, measurements.items(), strict=True):
        sizes, times = [point.size for point in points], [1000 * median(point.seconds) for point in points]
        slowest = max(points, key=lambda point: median(point.seconds))
        rate = slowest.flops / median(slowest.seconds)
        arithmetic = [1000 * point.flops / rate for point in points]
        axes.plot(sizes, arithmetic, color=GREY, label=f"arithmetic at {rate / 1e9:,.0f} GFLOP/s")
        reach = [[1000 * abs(end(point.seconds) - median(point.seconds)) for point in points] for end in (min, max)]
        axes.errorbar(sizes, times, reach, color=BLUE, marker="o", markersize=3, label="a training step")
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel="ms")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
        style_axes(axes)
    return figure


def scaling_law(curves: dict[str, ScalingCurve], notice: str = "") -> Figure:
    """Errors against training FLOPs, sizes of models by colour, and the law of the best choices.

    Args:
        curves: by condition, each in a panel of its own.
    """
    figure = new_figure(6 * len(curves), 4.2, notice)
    panels = figure.subplots(1, len(curves), squeeze=False).flat
    for axes, (condition, (points, best, law)) in zip(panels, curves.items(), strict=True):
        sizes = sorted({point.parameters for point in points})
        for size in sizes:
            same = [point for point in points if point.parameters == size]
            shade = str(0.75 - 0.6 * sizes.index(size) / max(1, len(sizes) - 1))
            axes.plot(
                [it.flops for it in same], [it.error for it in same], "o-", color=shade, label=_format_params(size)
            )
        if law:
            reach = [best[0].flops, best[-1].flops]
            name = f"error = {law.scale:.2g} FLOPs$^{{-{law.exponent:.2f}}}$"
            axes.plot(reach, [law(flops) for flops in reach], "--", color=BLUE, label=name)
        axes.set(xscale="log", xlabel="training FLOPs", ylabel="val, share not read right", title=condition)
        _log_error_axis(axes, [it.error for it in points])
        axes.legend(frameon=False, fontsize=8)
        style_axes(axes)
    return figure


def learning_curves(curves: dict[str, list[tuple[int, float]]]) -> Figure:
    """Errors against the scenes of a training, of several.

    Args:
        curves: by name, after so many scenes the share of validation scenes that was read right.
    """
    figure = new_figure(6, 4.2, "")
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot([scenes for scenes, _ in points], [1 - right for _, right in points], "o-", markersize=3, label=name)
    axes.set(xlabel="scenes seen in training", ylabel="val, share not read right")
    _log_error_axis(axes, [1 - right for points in curves.values() for _, right in points])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.legend(frameon=False, fontsize=8)
    style_axes(axes)
    return figure


def hyperparameter_effect(key: str, scores: dict[str, list[tuple[str, float]]], notice: str = "") -> Figure:
    """Exact match of runs against a value that they differ in, their means joined.

    Args:
        choices: by condition, of each run the value and the share read right.
    """
    figure = new_figure(4.2, 3.2, notice)
    axes = figure.subplots()
    values = sorted({value for each in scores.values() for value, _ in each}, key=_numeric_sort_key)
    numbers = [_numeric_sort_key(value)[1] for value in values]
    numeric = all(not _numeric_sort_key(value)[0] for value in values)
    places = dict(zip(values, numbers if numeric else range(len(values)), strict=True))
    for colour, (condition, each) in zip(cycle(PALETTE), scores.items(), strict=False):
        axes.scatter([places[value] for value, _ in each], [right for _, right in each], 14, GREY, alpha=0.7)
        chosen = [value for value in values if value in dict(each)]
        means = [fmean(right for other, right in each if other == value) for value in chosen]
        axes.plot([places[value] for value in chosen], means, "o-", markersize=4, color=colour, label=condition)
    if len(scores) > 1:
        axes.legend(frameon=False, fontsize=8)
    if numeric and numbers[0] > 0 and numbers[-1] >= 8 * numbers[0]:
        axes.set_xscale("log")
    axes.set_xticks([places[value] for value in values], values)
    axes.minorticks_off()
    axes.set(xlabel=key, ylabel="exact match, val")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    style_axes(axes)
    return figure


def _numeric_sort_key(value: str) -> tuple[bool, float, str]:
    """Sorts numbers before words."""
    try:
        return False, float(value), ""
    except ValueError:
        return True, 0.0, value


def _format_params(count: float) -> str:
    return f"{count / 1e6:.1f} M parameters" if count >= 1e6 else f"{count / 1e3:.0f} k parameters"


def _log_error_axis(axes: Axes, errors: list[float]) -> None:
    """Upwards, logarithmic, in per cent up to a whole one."""
    least, most = max(1e-5, min(errors)), max(errors)
    axes.set_yscale("log")
    ticks = [digit * 10.0**power for power in range(-5, 0) for digit in (1, 2, 5)]
    axes.set_yticks([tick for tick in ticks if 0.4 * least <= tick <= 2.5 * most])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0.6 * least, 1.3 * most)


def _series(rows: list[dict[str, float]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[key]) for row in rows if key in row]
    return [step for step, _ in points], [value for _, value in points]
