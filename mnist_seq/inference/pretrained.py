"""Included models, one folder each. `pretrained:NAME` names one wherever a model is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from mnist_seq.config.validation import check, check_choice
from mnist_seq.errors import NotFoundError

PRETRAINED_DIR = Path(__file__).resolve().parent.parent / "pretrained"
PREFIX = "pretrained:"
DEFAULT_MODEL = f"{PREFIX}line"
"""The model used if none is named: reads numbers in one or several rows, on pictures of any kind."""


def list_models() -> list[str]:
    """Names of the included models, sorted; each is named after the data preset that it was trained on."""
    return sorted(card.parent.name for card in PRETRAINED_DIR.glob("*/model.json"))


def resolve_path(run: str | os.PathLike[str]) -> Path:
    """Resolve a model to a path: `pretrained:NAME` is an included model, everything else is a path.

    Raises:
        UserError: no included model has this name.
        NotFoundError: the path does not exist.
    """
    if isinstance(run, str) and run.startswith(PREFIX):
        name = run.removeprefix(PREFIX)
        check_choice("pretrained", name, list_models())
        return PRETRAINED_DIR / name
    path = Path(run)
    if not path.exists():
        uris = [f"{PREFIX}{name}" for name in list_models()]
        uri = f"{PREFIX}{path.name}"
        included = f"{uri} for the included model" if uri in uris else f"one of {', '.join(uris)}"
        raise NotFoundError(
            f"{path} does not exist: give a run directory, weights (.safetensors), a checkpoint, or {included}"
        )
    return path


def expand_name(run: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Expand the short form that `mnist_seq.load` accepts: a bare NAME becomes `pretrained:NAME`.

    Raises:
        UserError: a path of this name exists too.
    """
    if not isinstance(run, str) or run not in list_models():
        return run
    check(not Path(run).exists(), f"{run} is both an included model and a path: use {PREFIX}{run} or ./{run}")
    return f"{PREFIX}{run}"
