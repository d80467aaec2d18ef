"""Pictures as text within a page, and pages from templates."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from mnist_seq.figures import plots


def render(template: str, **values: Any) -> str:
    """A page from a template of this folder; what is put in is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(template).render(values)


def png(image: Tensor) -> str:
    """An image as an address that holds it: H W or H W 3, uint8."""
    file = io.BytesIO()
    Image.fromarray(image.cpu().numpy()).save(file, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pngs(images: Tensor) -> list[str]:
    """The same of each; B H W, uint8."""
    return [png(image) for image in images]


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
