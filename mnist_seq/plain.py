"""Configs as plain values, and back: what run directories, checkpoints and model cards carry."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_type_hints

from mnist_seq.config import FAMILIES, MODELS, CustomConfig, DataConfig, ModelConfig, TrainerConfig
from mnist_seq.config.law import require_known
from mnist_seq.errors import UserError

T = TypeVar("T")


def plain(config: Any) -> Any:
    """A config as nested dicts, lists, strings and numbers: what is saved, and what `restore` reads."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {key: plain(value) for key, value in vars(config).items()}
    if isinstance(config, dict):
        return {key: plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [plain(value) for value in config]
    return config


def restore(schema: type[T], values: dict[str, Any]) -> T:
    """The dataclass that `plain` flattened; nested groups are found by their field's type, or by name.

    Raises:
        ValueError: a key that the schema does not have, or a broken law.
    """
    hints = get_type_hints(schema)
    open_ended = schema is TrainerConfig
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            if not open_ended:
                raise UserError(f"{schema.__name__} has no key {key!r}: saved by another version?")
            extra[key] = value
        elif key == "model" and isinstance(value, dict):
            known[key] = restore_model(value)
        elif key == "data" and isinstance(value, dict):
            known[key] = restore_data(value)
        elif dataclasses.is_dataclass(hints[key]) and isinstance(value, dict):
            known[key] = restore(hints[key], value)
        else:
            known[key] = value
    config = schema(**known)
    vars(config).update(extra)
    return config


def restore_model(values: dict[str, Any]) -> ModelConfig:
    """A model's config from plain values, by its `name`."""
    schema = _schema(MODELS, "model.name", values.get("name"))
    return CustomConfig.of(values) if schema is CustomConfig else restore(schema, values)


def restore_data(values: dict[str, Any]) -> DataConfig:
    """A scene family's config from plain values, by its `family`."""
    if "parts" in values:
        values = values | {"parts": {name: restore_data(part) for name, part in values["parts"].items()}}
    return restore(_schema(FAMILIES, "data.family", values.get("family")), values)


def _schema(known: dict[str, type[T]], key: str, name: Any) -> type[T]:
    require_known(key, name, known)
    return known[name]
