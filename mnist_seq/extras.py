"""Packages that only some commands need: `pip install 'mnist_seq[serve]'` and the like bring them."""

from __future__ import annotations

import importlib.util

from mnist_seq.config.validation import check

EXTRAS = {
    "serve": (
        "fastapi",
        "fastapi_offline",
        "prometheus_client",
        "pydantic",
        "python_multipart",
        "starlette",
        "uvicorn",
    ),
    "app": ("streamlit", "streamlit_drawable_canvas"),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
}
"""Each extra's packages, as they are imported; pyproject.toml has their versions."""


def missing_package(extra: str) -> str | None:
    """A package of an extra that is not installed."""
    return next((name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None), None)


def check_extra(purpose: str, extra: str) -> None:
    """Ask for an extra before any work is done that needs it.

    Args:
        purpose: what needs it, in the user's words, such as `format=onnx`.

    Raises:
        UserError: one of its packages is not installed.
    """
    absent = missing_package(extra)
    check(absent is None, f"{purpose} needs {absent}: {install_hint(extra)}")


def install_hint(extra: str) -> str:
    return f"pip install 'mnist_seq[{extra}]'"
