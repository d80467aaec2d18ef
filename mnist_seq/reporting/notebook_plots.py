"""What happens inside a reader: its patches, and where it looks.

Shapes   H W canvas   L looks   P patches
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mnist_seq.reporting.overlay import overlay_attention

_GRID_COLOR, _QUERY_COLOR = "#4fc3f7", "#ffb74d"


def patches(image: Tensor, patch_size: int) -> Figure:
    """An image, the grid of its patches upon it, and the patches in raster order: what a model sees as a sequence.

    Args:
        image: H W; a side divides both.
    """
    rows, cols = (extent // patch_size for extent in image.shape)
    figure = Figure(figsize=(9, 2.4 if rows * cols <= 16 else 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.4, 6.6))[0]
    axes = left.subplots()
    _imshow(axes, image)
    for top in range(0, image.shape[0], patch_size):
        for edge in range(0, image.shape[1], patch_size):
            axes.add_patch(
                Rectangle((edge - 0.5, top - 0.5), patch_size, patch_size, fill=False, color=_GRID_COLOR, linewidth=0.8)
            )
    cut = (
        image[: rows * patch_size, : cols * patch_size]
        .unflatten(0, (rows, patch_size))
        .unflatten(2, (cols, patch_size))
    )
    panels = right.subplots(-(-rows * cols // 8), min(8, rows * cols), squeeze=False, gridspec_kw={"wspace": 0.12})
    for place, panel in enumerate(panels.flat):
        panel.set_axis_off()
        if place < rows * cols:
            _imshow(panel, cut[place // cols, :, place % cols], image.max().item())
            panel.set_title(str(place), fontsize=8, pad=2)
    return figure


def attention_overlays(
    image: Tensor, attention: Tensor, titles: Sequence[str], query_patches: Sequence[int] = (), patch_size: int = 0
) -> Figure:
    """An image, and beside it what is looked at: the brighter a place, the more.

    Args:
        image: H W.
        weights: L H W, not negative.
        names: of the looks.
        here: the patch that each is a look from, which is framed; with `side`, of a patch.
    """
    figure = Figure(figsize=(min(9.0, 1.6 * (1 + len(attention))), 1.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(attention), squeeze=False)[0]
    _imshow(first, image)
    first.set_title("the image", fontsize=9, pad=3)
    ink = image.float().cpu().numpy() / max(float(image.max()), 1e-9)
    for place, (axes, look, name) in enumerate(zip(others, attention.cpu().numpy(), titles, strict=True)):
        axes.set_axis_off()
        axes.imshow(overlay_attention(ink, look), interpolation="nearest")
        axes.set_title(name, fontsize=9, pad=3)
        if query_patches:
            top, left = divmod(query_patches[place], image.shape[1] // patch_size)
            corner = (left * patch_size - 0.5, top * patch_size - 0.5)
            axes.add_patch(Rectangle(corner, patch_size, patch_size, fill=False, color=_QUERY_COLOR, linewidth=1.5))
    return figure


def token_probabilities(probs: Sequence[Sequence[float]], titles: Sequence[str], token_labels: Sequence[str]) -> Figure:
    """How likely each next token is, step by step.

    Args:
        steps: probabilities, a list for each step, as many as labels.
        names: of the steps.
        labels: of the tokens.
    """
    figure = Figure(figsize=(min(9.0, 1.9 * len(probs)), 1.9), layout="constrained")
    for axes, step, name in zip(
        figure.subplots(1, len(probs), sharey=True, squeeze=False)[0], probs, titles, strict=True
    ):
        axes.bar(range(len(token_labels)), step, color="#1f5fa8")
        axes.set_xticks(range(len(token_labels)), token_labels, fontsize=7)
        axes.set_ylim(0, 1)
        axes.set_title(name, fontsize=9, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _imshow(axes: Axes, image: Tensor, vmax: float | None = None) -> None:
    axes.set_axis_off()
    axes.imshow(image.cpu().numpy(), cmap="gray", vmin=0, vmax=vmax, interpolation="nearest")
