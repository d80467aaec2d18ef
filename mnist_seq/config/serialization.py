"""Convert configs to plain values and back, as run directories, checkpoints and model cards hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, TypeVar, get_type_hints

from mnist_seq.config.data import DataConfig
from mnist_seq.config.families import FAMILY_CONFIGS
from mnist_seq.config.model import MODEL_CONFIGS, CustomConfig, ModelConfig
from mnist_seq.config.training import TrainerConfig
from mnist_seq.config.validation import check_choice
from mnist_seq.errors import UserError

T = TypeVar("T")


def to_dict(config: Any) -> Any:
    """Convert a config to nested dicts, lists, strings and numbers."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {key: to_dict(value) for key, value in vars(config).items()}
    if isinstance(config, dict):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict(value) for value in config]
    return config


def from_dict(schema: type[T], values: dict[str, Any]) -> T:
    """Build a config from the plain values that `to_dict` returns.

    Raises:
        UserError: unknown key, or invalid value.
    """
    hints = get_type_hints(schema)
    unknown = {key: value for key, value in values.items() if key not in hints}
    if unknown and schema is not TrainerConfig:
        raise UserError(f"{schema.__name__} has no key {next(iter(unknown))!r}: was it saved by another version?")
    config = schema(**{key: _field_from_dict(key, hints[key], values[key]) for key in values if key in hints})
    vars(config).update(unknown)
    return config


def _field_from_dict(key: str, schema: Any, value: Any) -> Any:
    match key, value:
        case "model", dict():
            return model_from_dict(value)
        case "data", dict():
            return data_from_dict(value)
        case _, dict() if isinstance(schema, type) and dataclasses.is_dataclass(schema):
            return from_dict(schema, value)
    return value


def model_from_dict(values: dict[str, Any]) -> ModelConfig:
    """Build a model's config from plain values, by its `name`."""
    schema = _lookup(MODEL_CONFIGS, "model.name", values.get("name"))
    return CustomConfig.from_dict(values) if schema is CustomConfig else from_dict(schema, values)


def data_from_dict(values: dict[str, Any]) -> DataConfig:
    """Build a scene family's config from plain values, by its `family`."""
    if "parts" in values:
        values = values | {"parts": {name: data_from_dict(part) for name, part in values["parts"].items()}}
    if isinstance(values.get("synthetic"), dict):
        values = values | {"synthetic": data_from_dict(values["synthetic"])}
    return from_dict(_lookup(FAMILY_CONFIGS, "data.family", values.get("family")), values)


def _lookup(schemas: dict[str, type[T]], key: str, name: Any) -> type[T]:
    check_choice(key, name, schemas)
    return schemas[name]


def dotted_keys(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested values with its value, the outer ones first."""
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        yield f"{prefix}{key}", value
        yield from dotted_keys(value, f"{prefix}{key}.")


def dotted_settings(config: Any) -> dict[str, Any]:
    """All values of a config that are not null, by dotted key."""
    return {key: value for key, value in dotted_keys(to_dict(config)) if not isinstance(value, (dict, NoneType))}


def diff_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, each with both values; None stands for a missing key."""
    pairs = {key: (one.get(key), other.get(key)) for key in sorted({*one, *other})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
