"""Differences between resolved configs. Overrides do not suffice: presets change, and `auto` depends on the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mnist_seq.config import TrainConfig
from mnist_seq.config.serialization import diff_settings, dotted_settings
from mnist_seq.config.validation import check
from mnist_seq.run_dir import Run

_IGNORED_KEYS = ("logger", "report", "resume", "trust")
"""Keys that never change a result."""


def resolved_settings(config: TrainConfig) -> dict[str, Any]:
    """All values that may change a result, by dotted key, without those that are null."""
    settings = dotted_settings(config)
    return {key: value for key, value in settings.items() if key.partition(".")[0] not in _IGNORED_KEYS}


def require_same_config(run: Run, config: TrainConfig, overrides: list[str], hint: str) -> None:
    """Require that the run in a directory has the config of the job that would use that directory.

    Args:
        run: a run that has begun.
        config: the composed config of the job.
        overrides: the overrides that it was composed from.
        hint: what the user can do instead, for the error.

    Raises:
        UserError: the configs differ in a value that may change a result.
    """
    from mnist_seq.training import hardware

    saved_config = run.config
    saved = resolved_settings(saved_config)
    comparable = replace(config, trainer=hardware.resolve_auto(config.trainer), test=saved_config.test)  # may be added
    requested, auto_keys = resolved_settings(comparable), _auto_keys(config, overrides, run)
    differences = {key: pair for key, pair in diff_settings(saved, requested).items() if key not in auto_keys}
    check(
        not differences,
        f"{run.path} already holds a run with a different config: {format_differences(differences)}: {hint}",
    )


def format_differences(differences: Mapping[str, tuple[Any, Any]], limit: int = 3) -> str:
    """Format the first differences as "key=saved, not requested", and count the others."""
    listed = ", ".join(f"{key}={saved}, not {requested}" for key, (saved, requested) in [*differences.items()][:limit])
    return listed + (f" and {len(differences) - limit} more" if len(differences) > limit else "")


def _auto_keys(config: TrainConfig, overrides: list[str], run: Run) -> list[str]:
    """Keys that the job leaves to the machine just as the run did: any value that the run resolved is right."""
    run_overrides = run.metrics.get("overrides", [])
    keys = []
    for key, data in (("data.digits", config.data), ("data.synthetic.digits", getattr(config.data, "synthetic", None))):
        if data and data.digits == "auto" and _same_overrides(key, overrides, run_overrides):
            keys.append(key)
    if _same_overrides("trainer", overrides, run_overrides):
        trainer = vars(config.trainer) | vars(run.config.trainer)
        explicit = {key for key, value in vars(config.trainer).items() if value not in (None, "auto")}
        keys += [f"trainer.{key}" for key in trainer if key not in explicit]
    if config.trainer.threads is None:
        keys.append("trainer.threads")
    return keys


def _same_overrides(prefix: str, one: list[str], other: list[str]) -> bool:
    """Whether the overrides of keys that start with `prefix` are the same."""
    return _overrides_of(prefix, one) == _overrides_of(prefix, other)


def _overrides_of(prefix: str, overrides: list[str]) -> set[str]:
    return {it for it in (override.lstrip("+~") for override in overrides) if it.partition("=")[0].startswith(prefix)}
