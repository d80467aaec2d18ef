"""What happens inside a reader: its patches, and where it looks.

Shapes   H W canvas   L looks   P patches
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mnist_seq.figures.light import lit

_EDGE, _HERE = "#4fc3f7", "#ffb74d"


def patches(image: Tensor, side: int) -> Figure:
    """An image, the grid of its patches upon it, and the patches in raster order: what a model sees as a sequence.

    Args:
        image: H W; a side divides both.
    """
    rows, cols = (extent // side for extent in image.shape)
    figure = Figure(figsize=(9, 2.4 if rows * cols <= 16 else 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.4, 6.6))[0]
    axes = left.subplots()
    _show(axes, image)
    for top in range(0, image.shape[0], side):
        for edge in range(0, image.shape[1], side):
            axes.add_patch(Rectangle((edge - 0.5, top - 0.5), side, side, fill=False, color=_EDGE, linewidth=0.8))
    cut = image[: rows * side, : cols * side].unflatten(0, (rows, side)).unflatten(2, (cols, side))
    panels = right.subplots(-(-rows * cols // 8), min(8, rows * cols), squeeze=False, gridspec_kw={"wspace": 0.12})
    for place, panel in enumerate(panels.flat):
        panel.set_axis_off()
        if place < rows * cols:
            _show(panel, cut[place // cols, :, place % cols], image.max().item())
            panel.set_title(str(place), fontsize=8, pad=2)
    return figure


def looks(image: Tensor, weights: Tensor, names: Sequence[str], here: Sequence[int] = (), side: int = 0) -> Figure:
    """An image, and beside it what is looked at: the brighter a place, the more.

    Args:
        image: H W.
        weights: L H W, not negative.
        names: of the looks.
        here: the patch that each is a look from, which is framed; with `side`, of a patch.
    """
    figure = Figure(figsize=(min(9.0, 1.6 * (1 + len(weights))), 1.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(weights), squeeze=False)[0]
    _show(first, image)
    first.set_title("the image", fontsize=9, pad=3)
    ink = image.float().cpu().numpy() / max(float(image.max()), 1e-9)
    for place, (axes, look, name) in enumerate(zip(others, weights.cpu().numpy(), names, strict=True)):
        axes.set_axis_off()
        axes.imshow(lit(ink, look), interpolation="nearest")
        axes.set_title(name, fontsize=9, pad=3)
        if here:
            top, left = divmod(here[place], image.shape[1] // side)
            corner = (left * side - 0.5, top * side - 0.5)
            axes.add_patch(Rectangle(corner, side, side, fill=False, color=_HERE, linewidth=1.5))
    return figure


def chances(steps: Sequence[Sequence[float]], names: Sequence[str], labels: Sequence[str]) -> Figure:
    """How likely each next token is, step by step.

    Args:
        steps: probabilities, a list for each step, as many as labels.
        names: of the steps.
        labels: of the tokens.
    """
    figure = Figure(figsize=(min(9.0, 1.9 * len(steps)), 1.9), layout="constrained")
    for axes, step, name in zip(
        figure.subplots(1, len(steps), sharey=True, squeeze=False)[0], steps, names, strict=True
    ):
        axes.bar(range(len(labels)), step, color="#1f5fa8")
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        axes.set_ylim(0, 1)
        axes.set_title(name, fontsize=9, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _show(axes: Axes, image: Tensor, most: float | None = None) -> None:
    axes.set_axis_off()
    axes.imshow(image.cpu().numpy(), cmap="gray", vmin=0, vmax=most, interpolation="nearest")
