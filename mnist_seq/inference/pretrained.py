"""Models that are included, each in a folder of its own: `pretrained:NAME` names one, wherever a model is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from mnist_seq.config.validation import check, check_choice
from mnist_seq.errors import NotFoundError

PRETRAINED_DIR = Path(__file__).resolve().parent.parent / "pretrained"
PREFIX = "pretrained:"


def list_models() -> list[str]:
    """Of the data presets that they read, in alphabetical order."""
    return sorted(card.parent.name for card in PRETRAINED_DIR.glob("*/model.json"))


def resolve_path(run: str | os.PathLike[str]) -> Path:
    """Where a model lies: a string `pretrained:NAME` stands for an included one, everything else is a path.

    Raises:
        UserError: no included model has that name.
        NotFoundError: there is nothing at the path.
    """
    if isinstance(run, str) and run.startswith(PREFIX):
        name = run.removeprefix(PREFIX)
        check_choice("pretrained", name, list_models())
        return PRETRAINED_DIR / name
    path = Path(run)
    if not path.exists():
        included = path.name in list_models()
        raise NotFoundError(
            f"{path} does not exist: give a run directory, weights (.safetensors), a checkpoint, or "
            + (f"{PREFIX}{path.name} for the included model" if included else f"one of {', '.join(list_uris())}")
        )
    return path


def list_uris() -> list[str]:
    """All of them, as a command takes them."""
    return [f"{PREFIX}{name}" for name in list_models()]


def expand_name(run: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The short form of `mnist_seq.load`: a bare NAME means the included model.

    Raises:
        UserError: there is a path of that name too.
    """
    if not isinstance(run, str) or run not in list_models():
        return run
    check(
        not Path(run).exists(),
        f"{run} is an included model and a path here: say {PREFIX}{run}, or ./{run}",
    )
    return f"{PREFIX}{run}"
