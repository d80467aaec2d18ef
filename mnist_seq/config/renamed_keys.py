"""Keys that version 2 renamed, and what happens where a user still types an old one: one line that names the new key.

`config/migrations.py` converts saved files by the same tables.
"""

from __future__ import annotations

import re
from typing import Any

from mnist_seq.config.override_syntax import split_override
from mnist_seq.errors import UserError

_MODEL = {
    "model.heads": "model.num_heads",
    "model.dim_k": "model.head_dim",
    "model.patch": "model.patch_size",
    "model.position": "model.pos_embed",
}
_DATA = {
    "data.fixed": "data.num_train_scenes",
    "data.longest": "data.max_length",
    "data.empty": "data.p_empty",
    "data.closest": "data.min_advance",
    "data.widest": "data.max_advance",
    "data.tries": "data.max_attempts",
    "data.drop": "data.drop_unplaced",
    "data.fragments": "data.num_distractors",
    "data.augment.clean": "data.augment.p",
}
_LAUNCHER = {
    "hydra.launcher.slots": "hydra.launcher.n_jobs",
    "hydra.launcher.per_device": "hydra.launcher.jobs_per_gpu",
    "hydra.launcher.per_job": "hydra.launcher.gpus_per_job",
}
_OPTIM = {"optim.decay": "optim.decay_fraction", "optim.final_lr": "optim.final_lr_ratio"}
_TRAIN = {**_MODEL, **_DATA, **_OPTIM, **_LAUNCHER}

RENAMED_KEYS: dict[str, dict[str, str]] = {
    "train": _TRAIN,
    "describe": _TRAIN,
    "evaluate": {
        **_DATA,
        "to": "output_dir",
        "beams": "num_beams",
        "disturb": "corruptions",
        "corruption": "corruptions",
    },
    "compare": {**_DATA, "to": "output_dir"},
    "synthesise": {**_DATA, "to": "output_dir", "look": "preview"},
    "report": {"to": "output"},
    "export": {"to": "format", "folder": "output_dir", "seeds": "seed_runs"},
    "bench": {"to": "output_dir"},
    "serve": {
        "model": "run",
        "batch": "max_batch_size",
        "gate": "self_test",
        "limits.bytes": "limits.body_bytes",
        "limits.requests": "limits.concurrency",
        "limits.queue": "limits.queue_size",
        "limits.seconds": "limits.timeout",
    },
    "results": {
        "to": "output_dir",
        "readers": "models",
        "others": "robustness_scenes",
        "anchors": "published",
        "disturbed": "corruptions",
        "elsewhere": "other_data",
    },
    "search": {
        "to": "output_dir",
        "trials": "n_trials",
        "spared": "n_startup_trials",
        "retries": "max_retries",
        "grace": "heartbeat_timeout",
        "slots": "n_jobs",
        "per_device": "jobs_per_gpu",
    },
}
"""Command -> old key -> new key. An entry covers all keys below it."""

_REMOVED = {
    "model.drop_path": "stochastic depth lowered accuracy; model.dropout is still there",
    "loss.reduction": "the loss is the mean over all targets",
}
REMOVED_DEFAULTS = {"model.drop_path": 0.0, "loss.reduction": "mean"}
"""Removed key of a training config -> the value without effect, with which it is still read."""
REMOVED_KEYS: dict[str, dict[str, str]] = {
    "train": _REMOVED,
    "describe": _REMOVED,
    "evaluate": {"constrain": "PAD and BOS are never predicted"},
}
"""Command -> removed key -> reason."""

RENAMED_TARGETS = {
    "mnist_seq.learn.callbacks.GradientHistograms": "mnist_seq.training.callbacks.GradientHistograms",
    "mnist_seq.learn.loggers.wandb_logger": "mnist_seq.training.wandb_logger.wandb_logger",
    "mnist_seq.learn.weight_averaging.EMAWeightAveraging": "mnist_seq.training.weight_averaging.EMAWeightAveraging",
    "mnist_seq.sweeps.directory.SweepDirectory": "mnist_seq.sweeps.sweep_dir.SweepDirLock",
    "mnist_seq.sweeps.scaling.ScalingLaw": "mnist_seq.sweeps.scaling.ScalingLawPlot",
    "mnist_seq.sweeps.table.SweepTable": "mnist_seq.sweeps.summary.SweepSummary",
}
"""Old `_target_` -> new `_target_`."""

RENAMED_SUITES = {
    "scenes": "rendering",
    "loaders": "dataloader",
    "train": "train_step",
    "loop": "train_loop",
    "read": "inference",
    "growth": "step_scaling",
    "service": "serving",
}
"""Old suite of `bench` -> new suite."""

BUILT_IN_MODELS = ("enc_dec", "classifier")
"""`model.name` of the models of this package; the keys of any other model are its own and never renamed."""

_COMPLEMENTS = ("data.augment.clean", "data.augment.p")
"""An old key and its new one, where the value of each is 1 - that of the other."""


def training_keys(custom_model: bool) -> dict[str, str]:
    """The renamed keys of a training config: old -> new."""
    return {old: new for old, new in _TRAIN.items() if not (custom_model and old in _MODEL)}


def rename_keys(values: Any, renamed: dict[str, str], prefix: str = "") -> Any:
    """A copy of nested values under their new keys, in the same order, with converted values.

    Args:
        renamed: old dotted key -> new dotted key; only the last part differs.
    """
    if not isinstance(values, dict):
        return values
    result = {}
    for key, value in values.items():
        path = _shared_key(f"{prefix}{key}")
        new = renamed[path].rpartition(".")[2] if path in renamed else key
        result[new] = 1 - value if _is_inverted(path, renamed) else rename_keys(value, renamed, f"{path}.")
    return result


def drop_removed_keys(values: dict[str, Any], custom_model: bool, source: object | None) -> dict[str, Any]:
    """A training config, nested or flat, without the keys that were removed.

    Args:
        source: the file, for the error; None drops the keys whatever their values.

    Raises:
        UserError: a removed key had an effect.
    """
    for path, default in REMOVED_DEFAULTS.items():
        group, _, key = path.partition(".")
        inner = values if path in values else values.get(group) or {}
        name = path if path in values else key
        if name not in inner or (custom_model and group == "model"):
            continue
        if source is not None and inner[name] != default:
            raise UserError(
                f"{source} has {path}={inner[name]}, which was removed ({_REMOVED[path]}): "
                "train again without it, or with the version of mnist_seq that wrote it"
            )
        kept = {it: value for it, value in inner.items() if it != name}
        values = kept if path in values else values | {group: kept}
    return values


def rename_flat_keys(values: dict[str, Any]) -> dict[str, Any]:
    """The same for a flat training config, whose keys are dotted."""
    custom_model = values.get("model.name", "enc_dec") not in BUILT_IN_MODELS
    renamed = training_keys(custom_model)
    return {
        _new_spelling(key, renamed): 1 - value if _is_inverted(key, renamed) else value
        for key, value in drop_removed_keys(values, custom_model, "the study").items()
    }


def migrate_overrides(overrides: list[str], custom_model: bool) -> list[str]:
    """The overrides of a training run in the spelling of this version."""
    return [_respell(it, training_keys(custom_model)) for it in overrides]


def version_1_overrides(overrides: list[str]) -> list[str]:
    """The overrides of a training run in the spelling of version 1, which named the directories of its jobs by them."""
    renamed = {new: old for old, new in training_keys(has_custom_model(overrides)).items()}
    return [_respell(it, renamed) for it in overrides]


def version_1_parameter(key: str) -> str:
    """The name that version 1 gave to a searched key.

    Raises:
        UserError: its values meant something else.
    """
    (former,) = version_1_overrides([key])
    if key.lstrip("+~") in _COMPLEMENTS:
        raise UserError(f"space.{key}: this study was started with {former}, the complement: choose another study=")
    return former


def check_overrides(command: str, overrides: list[str], custom_model: bool = False) -> None:
    """Refuse renamed and removed keys on a command line.

    Args:
        command: the command's name, such as "train".
        custom_model: the model is a class of the user's, and so `model.*` are its own keys.

    Raises:
        UserError: names the new key.
    """
    custom_model = custom_model or has_custom_model(overrides)
    for override in overrides:
        if override.startswith("-"):
            continue
        prefix, key, value = split_override(override)
        if new := new_key(command, key, custom_model):
            prefix = prefix if prefix in ("++", "~") else ""
            raise UserError(f"{key} is now {new}: write {prefix}{_describe_new(key, new, value)}")
        if key.endswith("_target_") and (target := RENAMED_TARGETS.get(value[1:])):
            raise UserError(f"{key}={value[1:]} is now {key}={target}")


def new_key(command: str, key: str, custom_model: bool = False) -> str | None:
    """The new name of a key; None where it was not renamed.

    Raises:
        UserError: the key was removed.
    """
    reason = REMOVED_KEYS.get(command, {}).get(key)
    if reason and not (custom_model and key.startswith("model.")):
        raise UserError(f"{key} was removed ({reason}): leave it out")
    if command == "search" and key.startswith("space."):
        nested = key.removeprefix("space.").lstrip("+~")
        return f"space.{new}" if (new := new_key("train", nested, custom_model)) else None
    if key.startswith("hydra.sweeper.params."):
        return new_key(command, key.removeprefix("hydra.sweeper.params.").lstrip("+~"), custom_model)
    path = _shared_key(key)
    own_prefix = key.removesuffix(path.removeprefix("data.")) if path != key else ""
    for old, new in RENAMED_KEYS.get(command, {}).items():
        if custom_model and old in _MODEL:
            continue
        if path == old or path.startswith(f"{old}."):
            renamed = new + path.removeprefix(old)
            return own_prefix + renamed.removeprefix("data.") if own_prefix else renamed
    return None


def has_custom_model(overrides: list[str]) -> bool:
    """Whether overrides choose a class of the user's as the model, in a way that can be seen from them alone."""
    choices = [it.partition("=")[2] for it in overrides if it.lstrip("+").startswith("model=")]
    named = any(it.lstrip("+").startswith("model._target_=") for it in overrides)
    return named or any("custom" in choice.split(",") for choice in choices)


def _shared_key(key: str) -> str:
    """The key of a data config, whether of the run or of a part of a mixture: data.parts.a.drop -> data.drop."""
    return re.sub(r"^data\.parts\.[^.]+\.", "data.", key)


def _new_spelling(key: str, renamed: dict[str, str]) -> str:
    """The new name of a dotted key, whose last part alone differs; the key itself where it was not renamed."""
    path = _shared_key(key)
    return key.removesuffix(path.rpartition(".")[2]) + renamed[path].rpartition(".")[2] if path in renamed else key


def _is_inverted(key: str, renamed: dict[str, str]) -> bool:
    """Whether the value of the new key is 1 - that of the old one."""
    path = _shared_key(key)
    return path in renamed and path in _COMPLEMENTS


def _respell(override: str, renamed: dict[str, str]) -> str:
    prefix, key, value = split_override(override)
    if _is_inverted(key, renamed):
        value = _complement(value) or value
    return f"{prefix}{_new_spelling(key, renamed)}{value}"


def conversion_note(old: str) -> str:
    """What the value of a renamed key means, where that is not what it meant before; else empty."""
    return f", which is 1 - {old.rpartition('.')[2]}" if _shared_key(old) in _COMPLEMENTS else ""


def _describe_new(old: str, new: str, value: str) -> str:
    note = conversion_note(old) if value else ""
    return f"{new}{_complement(value) or '=P'}{note}" if note else f"{new}{value}"


def _complement(value: str) -> str | None:
    """1 - each number of `=0.25` or `=0.25,0.5`; None where these are no numbers."""
    try:
        return "=" + ",".join(f"{1 - float(part):g}" for part in value[1:].split(","))
    except ValueError:
        return None
