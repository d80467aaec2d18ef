"""Colors of all figures, and the style that they share."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

CORRECT_COLOR, WRONG_COLOR, BLUE, GREY = "#2a7f3e", "#c0392b", "#1f5fa8", "#8a8f98"
PALETTE = (BLUE, "tab:orange", "tab:green", "tab:purple")


def new_figure(width: float, height: float, notice: str) -> Figure:
    """Create an empty figure.

    Args:
        width, height: inches.
        notice: warning printed above the figure, e.g. that the digits are not MNIST; empty for none.
    """
    figure = Figure(figsize=(width, height + (0.4 if notice else 0)), layout="constrained")
    if notice:
        figure.suptitle(notice, color=WRONG_COLOR, fontsize=10, fontweight="bold")
    return figure


def style_axes(axes: Axes) -> None:
    """Hide the top and right spines, and draw a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
