"""All keys of the config schemas, nested ones included."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

from mnist_seq.config.commands import COMMANDS
from mnist_seq.config.families import FAMILY_CONFIGS
from mnist_seq.config.model import MODEL_CONFIGS
from mnist_seq.config.reference import Key, keys_at_top


def keys(schema: type[Any], prefix: str = "") -> Iterator[Key]:
    """The keys of a schema, and those of the schemas within it instead of the keys that hold them."""
    hints = get_type_hints(schema)
    for key in keys_at_top(schema):
        nested = hints[key.name]
        if dataclasses.is_dataclass(nested):
            yield from keys(nested, f"{prefix}{key.name}.")  # type: ignore[arg-type]
        else:
            yield key._replace(name=f"{prefix}{key.name}")


def keys_of(command: str) -> Iterator[Key]:
    """The keys of a command, those of every model and scene family included."""
    schema = COMMANDS[command].schema
    assert schema
    for key in keys(schema):
        yield key
        if key.name in ("model", "data"):
            for choice in (MODEL_CONFIGS if key.name == "model" else FAMILY_CONFIGS).values():
                yield from keys(choice, f"{key.name}.")
