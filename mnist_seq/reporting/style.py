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


def new_panels(width: float, height: float, count: int = 1, notice: str = "") -> tuple[Figure, list[Axes]]:
    """Create a figure of panels side by side, each with a light grid and without top and right spines.

    Args:
        width, height: of the whole figure, inches.
        count: number of panels.
        notice: as for `new_figure`.
    """
    figure = new_figure(width, height, notice)
    panels = list(figure.subplots(1, count, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, panels
