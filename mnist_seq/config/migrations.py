"""Read what earlier versions saved: configs, metrics, model cards, weights and checkpoints.

Configs, cards and checkpoints carry `schema_version`; a file without it has version 1.

Version 2 renamed most keys: `config/renamed_keys.py` has those that a user types too, this file those that only saved
files have. Version 3 renamed the scene family `line` to `string`; `line` is another family now.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from mnist_seq.config.override_syntax import split_override
from mnist_seq.config.renamed_keys import (
    BUILT_IN_MODELS,
    RENAMED_TARGETS,
    drop_removed_keys,
    migrate_overrides,
    rename_flat_keys,
    rename_keys,
    training_keys,
)
from mnist_seq.errors import UserError

SCHEMA_VERSION = 3

_CARD = {
    "spec.max_digits": "spec.max_length",
    "learnt_val": "trained_on_val",
    "gate": "release_scores",
    "licence": "license",
    "curve": "val_curve",
    "trained.began_with": "trained.init_from",
}
_METRICS = {
    "init_from.taken": "init_from.loaded_keys",
    "init_from.left": "init_from.skipped_keys",
    "init_from.differs": "init_from.config_differences",
    "init_from.share": "init_from.loaded_fraction",
    "init_from.learnt_val": "init_from.trained_on_val",
}
_CALLBACKS = {"Speed": "Throughput", "Checkpoints": "ResumableCheckpoint"}
_FOLDER_SPLIT = {"split_seed": None, "val_fraction": 1 / 6}
"""How a folder without these keys was split."""
_FAMILY_KEY = re.compile(r"data\.(parts\.[^.]+\.)?family")
_PARAMETERS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in {
        r"\.to_query\.": ".q_proj.",
        r"\.to_memory\.": ".kv_proj.",
        r"\.merge\.": ".out_proj.",
        r"\.feed_forward\.widen\.": ".feed_forward.fc1.",
        r"\.feed_forward\.shrink\.": ".feed_forward.fc2.",
        r"\.around_attention\.": ".attention_residual.",
        r"\.around_cross\.": ".cross_attention_residual.",
        r"\.around_feed_forward\.": ".feed_forward_residual.",
        r"^((?:model\.)?encoder)\.patches\.stem\.project\.": r"\1.patch_embed.stem.proj.",
        r"^((?:model\.)?encoder)\.patches\.": r"\1.patch_embed.",
        r"^((?:model\.)?(?:encoder\.)?)position\.": r"\1pos_embed.",
        r"^((?:model\.)?)tokens\.": r"\1token_embed.",
        r"^((?:model\.)?)to_logits\.": r"\1lm_head.",
        r"^((?:model\.)?)heads\.": r"\1head.",
        r"^((?:model\.)?pool)\.weigh\.": r"\1.attention_pool.",
    }.items()
]
"""Names of parameters of the built-in models, replaced in this order."""


def migrate_config(values: dict[str, Any], source: object, strict: bool = True) -> dict[str, Any]:
    """Convert a saved training config, or some of its groups, to the keys of this version.

    Args:
        source: the file, for the error message.
        strict: refuse removed keys that had an effect; they change how a model was trained, not how it is used.

    Raises:
        UserError: a later version wrote it, or it sets a removed key.
    """
    version = _schema_version(values, source)
    values = _rename_targets({key: value for key, value in values.items() if key != "schema_version"})
    if version < SCHEMA_VERSION:
        custom_model = _is_custom(values.get("model"))
        values = drop_removed_keys(values, custom_model, source if strict else None)
        values = rename_keys(values, training_keys(custom_model))
    if version < 3 and isinstance(values.get("data"), dict):
        values["data"] = _rename_family(values["data"])
    if isinstance(values.get("data"), dict):
        values["data"] = _keep_folder_split(values["data"])
    return values


def migrate_settings(settings: dict[str, Any], version: int) -> dict[str, Any]:
    """Convert a flat training config, whose keys are dotted, as a study keeps it.

    Args:
        version: of the schema that it was written with.

    Raises:
        UserError: it sets a removed key.
    """
    if version < SCHEMA_VERSION:
        settings = rename_flat_keys(settings)
    if version < 3:
        old_line = {key for key, value in settings.items() if _FAMILY_KEY.fullmatch(key) and value == "line"}
        settings = settings | dict.fromkeys(old_line, "string")
    if settings.get("data.family") == "folder":
        settings = {f"data.{key}": value for key, value in _FOLDER_SPLIT.items()} | settings
    return settings


def migrate_card(card: dict[str, Any], source: object) -> dict[str, Any]:
    """Convert the card of a model or a dataset.

    Raises:
        UserError: a later version wrote it.
    """
    version = _schema_version(card, source)
    card = {"schema_version": SCHEMA_VERSION} | migrate_config(card, source, strict=False)
    return rename_keys(card, _CARD) if version < 2 else card


def migrate_metrics(metrics: dict[str, Any], is_custom_model: Callable[[], bool]) -> dict[str, Any]:
    """Convert the contents of a metrics.json, whichever version wrote it.

    Args:
        is_custom_model: whether the run's model is a class of the user's; called only where that matters.
    """
    metrics = rename_keys(metrics, _METRICS)
    if "overrides" in metrics:
        keys = {split_override(it)[1] for it in metrics["overrides"]}
        custom = bool(keys & {*training_keys(False)} - {*training_keys(True)}) and is_custom_model()
        metrics["overrides"] = migrate_overrides(metrics["overrides"], custom)
    return metrics


def migrate_state_dict(weights: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """Rename the parameters of a built-in model; the modules of a custom model keep their names.

    Args:
        card: the model's card, as it is saved.
    """
    if _is_custom(card.get("model", {"name": None})) or "schema_version" in card:
        return weights
    return {_rename_parameter(name): weight for name, weight in weights.items()}


def migrate_checkpoint(checkpoint: dict[str, Any], source: object) -> dict[str, Any]:
    """Convert a training checkpoint: weights, averaged weights, states of callbacks and loader, model card.

    Raises:
        UserError: a later version wrote it.
    """
    if "reader" in checkpoint:
        checkpoint["model_card"] = checkpoint.pop("reader")
    card = checkpoint.get("model_card")
    if card is None:
        return checkpoint
    version = _schema_version(card, source)
    for key in ("state_dict", "current_model_state"):
        if key in checkpoint:
            checkpoint[key] = migrate_state_dict(checkpoint[key], card)
    if version < 2:
        states = checkpoint.get("callbacks", {})
        checkpoint["callbacks"] = {_CALLBACKS.get(name, name): state for name, state in states.items()}
        for loader in checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", []):
            if "handed_out" in loader:
                loader["num_yielded"] = loader.pop("handed_out")
    checkpoint["model_card"] = migrate_card(card, source)
    return checkpoint


def _schema_version(values: dict[str, Any], source: object) -> int:
    version = values.get("schema_version", 1)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise UserError(f"{source} was written by a later version of mnist_seq (schema {version}): update mnist_seq")
    return version


def _is_custom(model: Any) -> bool:
    """Whether a saved model is a class of the user's; a config without a model has none."""
    return isinstance(model, dict) and model.get("name") not in BUILT_IN_MODELS


def _rename_family(data: dict[str, Any]) -> dict[str, Any]:
    """A data config, or a mixture of several, with the name that version 3 gives to the family `line`."""
    if "parts" in data:
        data = data | {"parts": {name: _rename_family(part) for name, part in data["parts"].items()}}
    return data | {"family": "string"} if data.get("family") == "line" else data


def _keep_folder_split(data: dict[str, Any]) -> dict[str, Any]:
    """The data config of a folder with the split that it had without keys for it: the last sixth is for validation."""
    return _FOLDER_SPLIT | data if data.get("family") == "folder" else data


def _rename_targets(values: Any) -> Any:
    if isinstance(values, dict):
        return {
            key: RENAMED_TARGETS.get(str(value), value) if key == "_target_" else _rename_targets(value)
            for key, value in values.items()
        }
    return [_rename_targets(value) for value in values] if isinstance(values, list) else values


def _rename_parameter(name: str) -> str:
    for pattern, replacement in _PARAMETERS:
        name = pattern.sub(replacement, name)
    return name
