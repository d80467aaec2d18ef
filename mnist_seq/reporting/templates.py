"""Pages from templates, and drawings within them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from mnist_seq.reporting import plots


def render(template: str, /, **values: Any) -> str:
    """A page from a template of this folder; what is put in is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(template).render(values)


def svg(figure: Figure, salt: str) -> Markup:
    """A figure that takes the colours of the page's text and background.

    Args:
        salt: sets its names apart from those of the page's other figures.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace("#000000", "currentColor").replace(plots.BLUE, "var(--blue)")
    return Markup(drawn)
