"""HTML pages from templates, with figures as inline SVG."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from mnist_seq.reporting.style import BLUE


def render(template: str, /, **values: Any) -> str:
    """Render a template of this folder; values are escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(template).render(values)


def svg(figure: Figure, salt: str) -> Markup:
    """Convert a figure to SVG that takes the colors of the page.

    Args:
        salt: makes the ids in the SVG differ from those of other figures of the page.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace("#000000", "currentColor").replace(BLUE, "var(--blue)")
    return Markup(text)
