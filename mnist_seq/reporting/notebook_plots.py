"""Matplotlib figures for the lesson: patches, attention, token probabilities.

Shapes   H W canvas   N attention maps
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mnist_seq.reporting.overlay import overlay_attention
from mnist_seq.reporting.style import BLUE

_GRID_COLOR, _QUERY_COLOR = "#4fc3f7", "#ffb74d"


def patches(image: Tensor, patch_size: int) -> Figure:
    """Plot an image with its grid of patches, and the patches in raster order, the model's input sequence.

    Args:
        image: H W, uint8 or floats; both are multiples of `patch_size`.
        patch_size: pixels.
    """
    rows, cols = (extent // patch_size for extent in image.shape)
    figure = Figure(figsize=(9, 2.4 if rows * cols <= 16 else 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.4, 6.6))[0]
    axes = left.subplots()
    _imshow(axes, image)
    sequence = image.unfold(0, patch_size, patch_size).unfold(1, patch_size, patch_size).flatten(0, 1)
    panels = right.subplots(-(-rows * cols // 8), min(8, rows * cols), squeeze=False, gridspec_kw={"wspace": 0.12})
    for panel in panels.flat:
        panel.set_axis_off()
    for index, (patch, panel) in enumerate(zip(sequence, panels.flat, strict=False)):
        _frame_patch(axes, image, index, patch_size, _GRID_COLOR, 0.8)
        _imshow(panel, patch, image.max().item())
        panel.set_title(str(index), fontsize=8, pad=2)
    return figure


def attention_overlays(
    image: Tensor, attention: Tensor, titles: Sequence[str], query_patches: Sequence[int] = (), patch_size: int = 0
) -> Figure:
    """Plot an image and attention maps over it; brighter pixels have more weight.

    Args:
        image: H W, uint8 or floats, ink on 0.
        attention: N H W, not negative.
        titles: N of them.
        query_patches: index of the query's patch in each map, which is framed; needs `patch_size`.
        patch_size: pixels.
    """
    figure = Figure(figsize=(min(9.0, 1.6 * (1 + len(attention))), 1.9), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(attention), squeeze=False)[0]
    _imshow(first, image)
    first.set_title("image", fontsize=9, pad=3)
    ink = image.float().cpu().numpy() / max(float(image.max()), 1e-9)
    for index, (axes, weights, title) in enumerate(zip(others, attention.cpu().numpy(), titles, strict=True)):
        axes.set_axis_off()
        axes.imshow(overlay_attention(ink, weights), interpolation="nearest")
        axes.set_title(title, fontsize=9, pad=3)
        if query_patches:
            _frame_patch(axes, image, query_patches[index], patch_size, _QUERY_COLOR, 1.5)
    return figure


def token_probabilities(probs: Sequence[Sequence[float]], titles: Sequence[str], token_labels: Sequence[str]) -> Figure:
    """Plot the next-token distribution of each decoding step.

    Args:
        probs: probabilities of all tokens, in [0, 1], for each step.
        titles: one per step.
        token_labels: one per token.
    """
    figure = Figure(figsize=(min(9.0, 1.9 * len(probs)), 1.9), layout="constrained")
    panels = figure.subplots(1, len(probs), sharey=True, squeeze=False)[0]
    for axes, step_probs, title in zip(panels, probs, titles, strict=True):
        axes.bar(range(len(token_labels)), step_probs, color=BLUE)
        axes.set_xticks(range(len(token_labels)), token_labels, fontsize=7)
        axes.set_ylim(0, 1)
        axes.set_title(title, fontsize=9, pad=3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _frame_patch(axes: Axes, image: Tensor, index: int, patch_size: int, color: str, linewidth: float) -> None:
    """Frame a patch of the image that the axes show; patches are counted in raster order."""
    row, column = divmod(index, image.shape[1] // patch_size)
    corner = (column * patch_size - 0.5, row * patch_size - 0.5)
    axes.add_patch(Rectangle(corner, patch_size, patch_size, fill=False, color=color, linewidth=linewidth))


def _imshow(axes: Axes, image: Tensor, vmax: float | None = None) -> None:
    axes.set_axis_off()
    axes.imshow(image.cpu().numpy(), cmap="gray", vmin=0, vmax=vmax, interpolation="nearest")
