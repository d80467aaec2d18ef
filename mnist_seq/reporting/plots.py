"""Scenes with their readings, confusion, reliability: matplotlib figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from mnist_seq.atomic_io import atomic_path
from mnist_seq.data.render import SceneBatch
from mnist_seq.evaluation.calibration import Calibration
from mnist_seq.evaluation.hard_examples import HardExample
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import decode

_CORRECT_COLOR, _WRONG_COLOR, BLUE, GREY = "#2a7f3e", "#c0392b", "#1f5fa8", "#8a8f98"
_BOX_COLORS = ("#4fc3f7", "#ffb74d", "#81c784", "#e57373", "#ba68c8", "#fff176", "#4db6ac", "#f06292")
"""Of the first digit, the second, ..."""


def prediction_grid(
    scenes: SceneBatch, output: DecodeOutput, notice: str = "", ordered: bool = True, columns: int = 8
) -> Figure:
    """Scenes, each under what was read in it; where that is wrong, in red and with the truth."""
    count = len(scenes.images)
    height, width = scenes.images.shape[-2:]
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(1.25 * columns, rows * (1.1 * height / width + 0.45), notice)
    panels = _image_panels(figure, scenes.images[:, 0], rows, columns)
    read, truth = decode(output.digits), decode(scenes.digits)
    for axes, is_, was, ended in zip(panels, read, truth, output.ended.tolist(), strict=True):
        title = " ".join(map(str, is_)) + "..." * (not ended) or "none"
        right = ended and (is_ == was if ordered else sorted(is_) == sorted(was))
        if not right:
            title += f"\n(is {' '.join(map(str, was)) or 'none'})"
        axes.set_title(title, fontsize=9, color=_CORRECT_COLOR if right else _WRONG_COLOR, pad=3)
    return figure


def hard_examples(examples: list[HardExample], images: Tensor, columns: int = 12) -> Figure:
    """Digits that were misread, each under its label, what it was taken for, and how often.

    Args:
        images: of the same digits; S S each, uint8.
    """
    rows = -(-len(examples) // columns)
    figure = new_figure(0.95 * columns, 1.35 * rows, "")
    for axes, it in zip(_image_panels(figure, images, rows, columns), examples, strict=True):
        axes.set_title(f"{it.label}, read {it.predicted}\n{it.num_errors} of {it.num_shown}", fontsize=8, pad=3)
    return figure


def contact_sheet(scenes: SceneBatch, title: str, notice: str = "") -> Figure:
    """Scenes over their digits, the boxes of the ink numbered in reading order."""
    count = len(scenes.images)
    height, width = scenes.images.shape[-2:]
    columns = min(count, max(2, min(8, round(8 * height / width))))
    rows = -(-count // columns)
    side = 10 / columns
    figure = new_figure(10, rows * (side * height / width + 0.17) + 0.25, notice)
    figure.suptitle(f"{title}\n{notice}" if notice else title, fontsize=10, color=_WRONG_COLOR if notice else "k")
    truth = decode(scenes.digits)
    for place, axes in enumerate(_image_panels(figure, scenes.images[:, 0], rows, columns)):
        axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, color=GREY, linewidth=0.8))
        axes.set_title(" ".join(map(str, truth[place])) or "none", fontsize=9, pad=2)
        for turn, (x0, y0, x1, y1) in enumerate(scenes.boxes[place, : len(truth[place])].tolist()):
            colour = _BOX_COLORS[turn % len(_BOX_COLORS)]
            axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, color=colour, linewidth=0.9))
            above = y0 >= 0.09 * width / side  # else the number would stand in the title
            y, va = (y0 - 1, "bottom") if above else (y1 + 0.5, "top")
            axes.text(x0, y, str(turn + 1), fontsize=6, color=colour, va=va, ha="left", fontweight="bold")
    return figure


def confusion_matrix(counts: list[list[int]], title: str, notice: str = "") -> Figure:
    """True digits by read digits; the share of each row, its count in the cell.

    Args:
        counts: 10 rows of 11, the last column for digits that were not read.
    """
    table = np.array(counts)
    shares = table / table.sum(1, keepdims=True).clip(min=1)
    figure = new_figure(6, 5.4, notice)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        if table[row, column]:
            dark = shares[row, column] > 0.5
            axes.text(
                column, row, str(table[row, column]), ha="center", va="center", fontsize=7, color="w" if dark else "k"
            )
    axes.set(xlabel="read", ylabel="is", title=title, xticks=range(11), yticks=range(10))
    axes.set_xticklabels([*map(str, range(10)), "none"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def reliability_diagram(calibration: Calibration) -> Figure:
    """Share right against confidence, and against the share of scenes that is read, the surest first."""
    figure = new_figure(9, 3.4, "")
    left, right = figure.subplots(1, 2)
    most = max(each.num_scenes for each in calibration.bins)
    sizes = [20 + 220 * each.num_scenes / most for each in calibration.bins]
    left.plot([0, 1], [0, 1], "--", color=GREY, label="as sure as right")
    left.scatter(
        [each.confidence for each in calibration.bins],
        [each.accuracy for each in calibration.bins],
        sizes,
        BLUE,
        alpha=0.8,
    )
    left.set(xlabel="confidence of a reading (area: scenes)", ylabel="share right", xlim=(0, 1.04), ylim=(0, 1.04))
    left.legend(frameon=False)
    right.plot(*zip(*calibration.selective_accuracy, strict=True), "o-", markersize=3, color=BLUE)
    right.set(xlabel="share of scenes read, the surest first", ylabel="share right")
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in (left, right):
        style_axes(axes)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as beside:
        figure.savefig(beside, dpi=150, format=path.suffix[1:])


def as_array(figure: Figure) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A figure as pixels; H W 3, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def new_figure(width: float, height: float, notice: str) -> Figure:
    """Nothing yet, of so many inches, under what whoever sees it must be told."""
    figure = Figure(figsize=(width, height + (0.4 if notice else 0)), layout="constrained")
    if notice:
        figure.suptitle(notice, color=_WRONG_COLOR, fontsize=10, fontweight="bold")
    return figure


def _image_panels(figure: Figure, images: Tensor, rows: int, columns: int) -> list[Axes]:
    """One for each image, B H W, uint8, row by row; places beyond the last stay empty."""
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, image in zip(panels, images.cpu().numpy(), strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return panels[: len(images)]


def style_axes(axes: Axes) -> None:
    """Axes on two sides alone, a light grid behind the lines."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
