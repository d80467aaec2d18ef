"""Readers that ship with the package, each in a folder of its own, by name."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "pretrained"


def names() -> list[str]:
    """Of the data presets that they read, in alphabetical order."""
    return sorted(card.parent.name for card in FOLDER.glob("*/model.json"))


def find(place: str | os.PathLike[str]) -> Path:
    """Where weights lie: a string that names a reader that ships with the package stands for it, others are paths.

    A folder here that has such a name is meant by `./<name>`, or by a Path.
    """
    return FOLDER / place if isinstance(place, str) and place in names() else Path(place)
