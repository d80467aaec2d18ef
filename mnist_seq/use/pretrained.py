"""Models that are included, each in a folder of its own: `pretrained:NAME` names one, wherever a model is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from mnist_seq.config.law import require, require_known
from mnist_seq.errors import NotFoundError

FOLDER = Path(__file__).resolve().parent.parent / "pretrained"
PREFIX = "pretrained:"


def names() -> list[str]:
    """Of the data presets that they read, in alphabetical order."""
    return sorted(card.parent.name for card in FOLDER.glob("*/model.json"))


def find(place: str | os.PathLike[str]) -> Path:
    """Where a model lies: a string `pretrained:NAME` stands for an included one, everything else is a path.

    Raises:
        UserError: no included model has that name.
        NotFoundError: there is nothing at the path.
    """
    if isinstance(place, str) and place.startswith(PREFIX):
        name = place.removeprefix(PREFIX)
        require_known("pretrained", name, names())
        return FOLDER / name
    path = Path(place)
    if not path.exists():
        included = path.name in names()
        raise NotFoundError(
            f"{path} does not exist: give a run directory, weights (.safetensors), a checkpoint, or "
            + (f"{PREFIX}{path.name} for the included model" if included else f"one of {', '.join(named())}")
        )
    return path


def named() -> list[str]:
    """All of them, as a command takes them."""
    return [f"{PREFIX}{name}" for name in names()]


def expand(place: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The short form of `mnist_seq.load`: a bare NAME means the included model.

    Raises:
        UserError: there is a path of that name too.
    """
    if not isinstance(place, str) or place not in names():
        return place
    require(
        not Path(place).exists(),
        f"{place} is an included model and a path here: say {PREFIX}{place}, or ./{place}",
    )
    return f"{PREFIX}{place}"
