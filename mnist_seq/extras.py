"""Optional dependencies of single commands, as in `pip install 'mnist_seq[serve]'`."""

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
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
}
"""Extra -> its modules; pyproject.toml has the versions."""


def missing_package(extra: str) -> str | None:
    """The first module of an extra that is not installed; None if all are."""
    return next((name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None), None)


def check_extra(purpose: str, extra: str) -> None:
    """Refuse to start what needs an extra that is not installed.

    Args:
        purpose: what needs it, such as `format=onnx`.

    Raises:
        UserError: names the missing module and the command that installs it.
    """
    missing = missing_package(extra)
    check(missing is None, f"{purpose} needs {missing}: {install_hint(extra)}")


def install_hint(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'mnist_seq[{extra}]'"
