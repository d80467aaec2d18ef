"""What earlier versions saved, read as this version writes it; and what became of the keys that a user still types.

Configs, model cards and checkpoints carry `schema_version`; a file without it is version 1. Version 2 renamed most keys.
All renames stand in the tables below: saved files are converted, typed overrides and presets are refused in a line that
names the new key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mnist_seq.errors import UserError

SCHEMA_VERSION = 2

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
    "evaluate": {**_DATA, "to": "output_dir", "beams": "num_beams", "disturb": "corruption"},
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
"""Command -> old key -> new key; a key stands for all below it."""

_REMOVED = {
    "model.drop_path": "stochastic depth lowered accuracy; dropout is still there",
    "loss.reduction": "the loss is the mean over all targets",
}
REMOVED_KEYS: dict[str, dict[str, str]] = {
    "train": _REMOVED,
    "describe": _REMOVED,
    "evaluate": {"constrain": "PAD and BOS are never predicted"},
}
"""Command -> key -> why it is gone."""

_REMOVED_DEFAULTS = {"model.drop_path": 0.0, "loss.reduction": "mean"}
"""The only value with which a removed key is still read."""

RENAMED_TARGETS = {
    "mnist_seq.learn.callbacks.GradientHistograms": "mnist_seq.training.callbacks.GradientHistograms",
    "mnist_seq.learn.loggers.wandb_logger": "mnist_seq.training.loggers.wandb_logger",
    "mnist_seq.learn.weight_averaging.EMAWeightAveraging": "mnist_seq.training.weight_averaging.EMAWeightAveraging",
    "mnist_seq.sweeps.directory.SweepDirectory": "mnist_seq.sweeps.sweep_dir.SweepDirLock",
    "mnist_seq.sweeps.scaling.ScalingLaw": "mnist_seq.sweeps.scaling.ScalingLawPlot",
    "mnist_seq.sweeps.table.SweepTable": "mnist_seq.sweeps.summary.SweepSummary",
}

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
"""Names of parameters, in this order; the modules of a custom model are its own, and keep theirs."""


def migrate_config(values: dict[str, Any], source: object) -> dict[str, Any]:
    """The values of a training config, or of some of its groups, as this version names them.

    Args:
        source: where they are saved, for the error.

    Raises:
        UserError: a later version wrote them, or they set a key that is gone.
    """
    version = values.get("schema_version", 1)
    if version > SCHEMA_VERSION:
        raise UserError(f"{source} was written by a later version of mnist_seq (schema {version}): update mnist_seq")
    values = _rename_targets({key: value for key, value in values.items() if key != "schema_version"})
    if version == SCHEMA_VERSION:
        return values
    own_model = (values.get("model") or {}).get("name") not in (None, "enc_dec", "classifier")
    for key, default in _REMOVED_DEFAULTS.items():
        group, _, name = key.partition(".")
        if name in (values.get(group) or {}) and not (own_model and group == "model"):
            _check_default(key, values[group][name], default, source)
            values[group] = {it: value for it, value in values[group].items() if it != name}
    values = _rename_keys(values, {**_DATA, **_OPTIM} if own_model else _TRAIN)
    parts = (values.get("data") or {}).get("parts")
    if parts:
        for name, part in parts.items():
            parts[name] = _rename_keys({"data": part}, _DATA)["data"]
    return values


def migrate_card(card: dict[str, Any], source: object) -> dict[str, Any]:
    """A model card, or that of a dataset, as this version writes it.

    Raises:
        UserError: a later version wrote it.
    """
    version = card.get("schema_version", 1)
    card = {"schema_version": SCHEMA_VERSION} | migrate_config(card, source)
    return card if version == SCHEMA_VERSION else _rename_keys(card, _CARD)


def migrate_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """What metrics.json says of a run, as this version writes it."""
    metrics = _rename_keys(metrics, _METRICS)
    if "overrides" in metrics:
        metrics["overrides"] = migrate_overrides(metrics["overrides"])
    return metrics


def migrate_flat_config(values: dict[str, Any]) -> dict[str, Any]:
    """The same of dotted keys, as a search keeps what its trials have in common."""
    for key, default in _REMOVED_DEFAULTS.items():
        if key in values and "model._target_" not in values:
            _check_default(key, values[key], default, "the search")
            values = {it: value for it, value in values.items() if it != key}
    spelled = migrate_overrides(list(values))
    return dict(zip(spelled, values.values(), strict=True))


def _check_default(key: str, value: Any, default: Any, source: object) -> None:
    if value != default:
        raise UserError(
            f"{source} was trained with {key}={value}, which is gone ({_REMOVED[key]}): open it with the version of "
            "mnist_seq that wrote it, or train it again without"
        )


def migrate_state_dict(weights: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """Weights by the names that modules have in this version.

    Args:
        card: of the model, as it is saved.
    """
    built_in = card.get("model", {}).get("name") in ("enc_dec", "classifier")
    if not built_in or card.get("schema_version", 1) >= SCHEMA_VERSION:
        return weights
    return {_rename_parameter(name): weight for name, weight in weights.items()}


def migrate_checkpoint(checkpoint: dict[str, Any], source: object) -> dict[str, Any]:
    """A training checkpoint as this version writes it: weights, averaged weights, states of callbacks, model card.

    Raises:
        UserError: a later version wrote it.
    """
    if "reader" in checkpoint:
        checkpoint["model_card"] = checkpoint.pop("reader")
    card = checkpoint.get("model_card")
    if card is None:
        return checkpoint
    for key in ("state_dict", "current_model_state"):
        if key in checkpoint:
            checkpoint[key] = migrate_state_dict(checkpoint[key], card)
    if card.get("schema_version", 1) < SCHEMA_VERSION:
        states = checkpoint.get("callbacks", {})
        checkpoint["callbacks"] = {_CALLBACKS.get(name, name): state for name, state in states.items()}
        for loader in checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", []):
            if "handed_out" in loader:
                loader["num_yielded"] = loader.pop("handed_out")
    checkpoint["model_card"] = migrate_card(card, source)
    return checkpoint


def migrate_overrides(overrides: list[str]) -> list[str]:
    """The overrides of a training run as this version spells them."""
    return _respell(overrides, _TRAIN)


def version_1_overrides(overrides: list[str]) -> list[str]:
    """The overrides of a training run as version 1 spelled them: directories of its sweeps are named by these."""
    return _respell(overrides, {new: old for old, new in _TRAIN.items()})


def check_overrides(command: str, overrides: list[str]) -> None:
    """Refuse keys that were renamed.

    Args:
        command: whose command line it is: train, evaluate, ...

    Raises:
        UserError: naming the new key.
    """
    own_model = _has_custom_model(overrides)
    for override in overrides:
        prefix, key, value = _split(override)
        if own_model and key in {**_MODEL, "model.drop_path": ""}:
            continue
        if new := _new_key(command, key):
            raise UserError(f"{key} is now {new}: write {prefix}{_write(key, new, value)}")


def check_presets(command: str, folder: Path) -> None:
    """Refuse a user's own presets that have keys which were renamed. Others than YAML mappings are left to Hydra.

    Raises:
        UserError: naming the file and the new key.
    """
    import yaml

    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        group = path.parent.relative_to(folder).as_posix().replace("/", ".")
        if group == "model" and isinstance(values, dict) and "_target_" in values:
            continue
        whole = group == "." or "@package _global_" in text
        for key in _dotted_keys(values, "" if whole else f"{group}."):
            if new := _new_key(command if group in (".", command) else "train", key):
                raise UserError(f"{path}: {key} is now {new}")


def _new_key(command: str, key: str) -> str | None:
    """What a key is called now, where it was renamed."""
    if command == "search" and key.startswith("space."):
        command, key = "train", key.removeprefix("space.").lstrip("+~")
    if why := REMOVED_KEYS.get(command, {}).get(key):
        raise UserError(f"{key} is gone ({why}): leave it out")
    for old, new in RENAMED_KEYS.get(command, {}).items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return None


def _respell(overrides: list[str], renamed: dict[str, str]) -> list[str]:
    own_model = _has_custom_model(overrides)
    spelled = []
    for override in overrides:
        prefix, key, value = _split(override)
        kept = key not in renamed or (own_model and key.startswith("model."))
        spelled.append(override if kept else prefix + _write(key, renamed[key], value))
    return spelled


def _has_custom_model(overrides: list[str]) -> bool:
    """Whether a class of the user's own is built: its arguments are called as it likes."""
    chosen = [override.partition("=")[2] for override in overrides if override.startswith("model=")]
    return any(override.startswith("model._target_=") for override in overrides) or "custom" in chosen


def _split(override: str) -> tuple[str, str, str]:
    """+, ++ or ~; the key; and, where there is one, = and the value."""
    stripped = override.lstrip("+~")
    key, equals, value = stripped.partition("=")
    return override.removesuffix(stripped), key, equals + value


def _write(old: str, new: str, value: str) -> str:
    if old not in _CONVERTED or not value:
        return f"{new}{value}"
    try:
        return f"{new}={','.join(f'{_CONVERTED[old](float(each)):g}' for each in value[1:].split(','))}"
    except ValueError:
        raise UserError(f"{old} is now {new}, which is 1 - {old.rpartition('.')[2]}") from None


_CONVERTED: dict[str, Callable[[Any], Any]] = {
    "data.augment.clean": lambda clean: 1 - clean,
    "data.augment.p": lambda p: 1 - p,
}
"""Key, old or new, whose value means something else under its other name -> that value."""


def _rename_keys(values: dict[str, Any], renamed: dict[str, str]) -> dict[str, Any]:
    """A copy of nested values with other keys, the order kept."""
    groups: dict[str, dict[str, str]] = {}
    here = {}
    for old, new in renamed.items():
        group, dot, rest = old.partition(".")
        if dot:
            groups.setdefault(group, {})[rest] = new.partition(".")[2]
        else:
            here[old] = new
    changed = {}
    for key, value in values.items():
        if key in groups and isinstance(value, dict):
            value = _rename_keys(value, groups[key])
        changed[here.get(key, key)] = 1 - value if (key, here.get(key)) == ("clean", "p") else value
    return changed


def _rename_targets(values: Any) -> Any:
    if isinstance(values, dict):
        return {
            key: RENAMED_TARGETS.get(value, value) if key == "_target_" else _rename_targets(value)
            for key, value in values.items()
        }
    return [_rename_targets(value) for value in values] if isinstance(values, list) else values


def _rename_parameter(name: str) -> str:
    for pattern, replacement in _PARAMETERS:
        name = pattern.sub(replacement, name)
    return name


def _dotted_keys(values: Any, prefix: str) -> Iterator[str]:
    if not isinstance(values, dict):
        return
    for key, value in values.items():
        yield f"{prefix}{key}"
        yield from _dotted_keys(value, f"{prefix}{key}.")
