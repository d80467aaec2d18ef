"""Readers that ship with the package, each in a folder of its own, by name."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "pretrained"


def names() -> list[str]:
    """Of the data presets that they read, in alphabetical order."""
    return sorted(card.parent.name for card in FOLDER.glob("*/model.json"))


def find(place: str | Path) -> Path:
    """Where weights lie: a name stands for a reader that ships with the package, anything else is a path.

    A folder here that has such a name is meant by `./<name>`.
    """
    return FOLDER / str(place) if str(place) in names() else Path(place)
