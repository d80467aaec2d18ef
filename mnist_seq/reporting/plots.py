"""Matplotlib figures of scenes, predictions, confusion and calibration.

Shapes   B scenes   H W canvas   S side of a digit image
"""

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
from mnist_seq.reporting.style import BLUE, CORRECT_COLOR, GREY, WRONG_COLOR, new_figure, new_panels
from mnist_seq.vocabulary import decode

_BOX_COLORS = ("#4fc3f7", "#ffb74d", "#81c784", "#e57373", "#ba68c8", "#fff176", "#4db6ac", "#f06292")
"""Color of the first digit's box, the second's, ..."""


def prediction_grid(
    scenes: SceneBatch, output: DecodeOutput, notice: str = "", ordered: bool = True, columns: int = 8
) -> Figure:
    """Plot scenes titled with their predictions; errors are red, with the label.

    Args:
        scenes: B of them.
        output: predictions for the same scenes.
        notice: warning above the figure.
        ordered: whether the order of the digits counts.
        columns: scenes per row.
    """
    height, width = scenes.images.shape[-2:]
    figure, panels = _image_grid(scenes.images[:, 0], columns, 1.25, 1.1 * height / width + 0.45, notice)
    predictions, labels = decode(output.digits), decode(scenes.digits)
    for axes, predicted, label, ended in zip(panels, predictions, labels, output.ended.tolist(), strict=True):
        title = " ".join(map(str, predicted)) + "..." * (not ended) or "none"
        correct = ended and (predicted == label if ordered else sorted(predicted) == sorted(label))
        if not correct:
            title += f"\n(label {' '.join(map(str, label)) or 'none'})"
        axes.set_title(title, fontsize=9, color=CORRECT_COLOR if correct else WRONG_COLOR, pad=3)
    return figure


def hard_examples(examples: list[HardExample], images: Tensor, columns: int = 12) -> Figure:
    """Plot digit images that are often misread, with label, prediction and number of errors.

    Args:
        images: of the same digits; S S each, uint8.
        columns: images per row.
    """
    figure, panels = _image_grid(images, columns, 0.95, 1.35)
    for axes, it in zip(panels, examples, strict=True):
        axes.set_title(f"{it.label}, read as {it.predicted}\n{it.num_errors} of {it.num_shown}", fontsize=8, pad=3)
    return figure


def contact_sheet(scenes: SceneBatch, title: str, notice: str = "") -> Figure:
    """Plot scenes with their labels and the digits' boxes, numbered in reading order."""
    height, width = scenes.images.shape[-2:]
    columns = min(len(scenes.images), max(2, min(8, round(8 * height / width))))
    side = 10 / columns
    figure, panels = _image_grid(scenes.images[:, 0], columns, side, side * height / width + 0.17, notice, margin=0.25)
    figure.suptitle(f"{title}\n{notice}" if notice else title, fontsize=10, color=WRONG_COLOR if notice else "k")
    labels = decode(scenes.digits)
    for index, axes in enumerate(panels):
        axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, color=GREY, linewidth=0.8))
        axes.set_title(" ".join(map(str, labels[index])) or "none", fontsize=9, pad=2)
        for position, (x0, y0, x1, y1) in enumerate(scenes.boxes[index, : len(labels[index])].tolist()):
            if x1 <= x0:  # unknown, or all ink beyond the canvas
                continue
            color = _BOX_COLORS[position % len(_BOX_COLORS)]
            axes.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, color=color, linewidth=0.9))
            above = y0 >= 0.09 * width / side  # else the number would overlap the title
            y, va = (y0 - 1, "bottom") if above else (y1 + 0.5, "top")
            axes.text(x0, y, str(position + 1), fontsize=6, color=color, va=va, ha="left", fontweight="bold")
    return figure


def confusion_matrix(counts: list[list[int]], title: str, notice: str = "") -> Figure:
    """Plot a confusion matrix, shaded by the share of each row.

    Args:
        counts: 10 rows (labels) of 11 (predictions); the last column counts digits that were not read.
    """
    table = np.array(counts)
    shares = table / table.sum(1, keepdims=True).clip(min=1)
    figure = new_figure(6, 5.4, notice)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*table.shape):
        if table[row, column]:
            count, color = str(table[row, column]), "w" if shares[row, column] > 0.5 else "k"
            axes.text(column, row, count, ha="center", va="center", fontsize=7, color=color)
    axes.set(xlabel="prediction", ylabel="label", title=title, yticks=range(10))
    axes.set_xticks(range(11), [*map(str, range(10)), "none"])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def reliability_diagram(calibration: Calibration) -> Figure:
    """Plot accuracy against confidence, and selective accuracy against coverage."""
    figure, (left, right) = new_panels(9, 3.4, 2)
    confidence, accuracy, num_scenes = np.array(calibration.bins).T
    left.plot([0, 1], [0, 1], "--", color=GREY, label="perfect calibration")
    left.scatter(confidence, accuracy, 20 + 220 * num_scenes / num_scenes.max(), BLUE, alpha=0.8)
    left.set(xlabel="confidence (area: number of scenes)", ylabel="accuracy", xlim=(0, 1.04), ylim=(0, 1.04))
    left.legend(frameon=False)
    right.plot(*zip(*calibration.selective_accuracy, strict=True), "o-", markersize=3, color=BLUE)
    right.set(xlabel="coverage (most confident first)", ylabel="accuracy")
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure in the format of the path's suffix; the folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temp_path:
        figure.savefig(temp_path, dpi=150, format=path.suffix[1:])


def as_array(figure: Figure) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Render a figure as pixels; H W 3, uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _image_grid(
    images: Tensor, columns: int, column_width: float, row_height: float, notice: str = "", margin: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Plot images, B H W, uint8, row by row, and return their axes; widths and heights are in inches."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(column_width * columns, row_height * rows + margin, notice)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set(xticks=[], yticks=[])  # with ticks, even hidden ones, the layout takes twice as long
        axes.set_axis_off()
    for axes, image in zip(panels, images.cpu().numpy(), strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return figure, panels[: len(images)]
