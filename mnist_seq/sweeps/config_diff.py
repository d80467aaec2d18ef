"""What runs differ in, by their resolved configs: overrides tell less, since presets change and `auto` is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mnist_seq.config import TrainConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.config.validation import check
from mnist_seq.run_dir import Run

_IGNORED_KEYS = ("logger", "report", "resume", "trust")
"""Keys that change no result."""


def resolved_settings(config: TrainConfig) -> dict[str, Any]:
    """All values that decide a result, by dotted key; what is null is left out."""
    return {key: value for key, value in _flatten(to_dict(config)) if key.partition(".")[0] not in _IGNORED_KEYS}


def require_same_config(run: Run, config: TrainConfig, overrides: list[str], hint: str) -> None:
    """Refuse to take the run of a directory for the result of a job that asks for something else.

    Args:
        config: of the job, composed.
        overrides: from which it was composed.
        way_out: what the user may choose instead.

    Raises:
        UserError: their configs differ in what decides a result.
    """
    from mnist_seq.training import hardware

    held, asked = (
        resolved_settings(run.config),
        resolved_settings(replace(config, trainer=hardware.resolve_auto(config.trainer))),
    )
    either = set(_auto_keys(config, overrides, run))
    differ = {key: pair for key, pair in diff_settings(held, asked).items() if key not in either}
    told = ", ".join(f"{key}={there}, not {here}" for key, (there, here) in list(differ.items())[:3])
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    check(not differ, f"{run.path} holds another run, with {told}{more}: {hint}")


def diff_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ, with both; None stands for a key that one lacks."""
    pairs = {key: (one.get(key), other.get(key)) for key in sorted({*one, *other})}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _auto_keys(config: TrainConfig, overrides: list[str], run: Run) -> list[str]:
    """Keys that the job leaves to the machine, as that of the run was asked to: whatever the run found is right."""
    before = run.metrics.get("overrides", [])
    open_keys = []
    if config.data.digits == "auto" and _overrides_of(overrides, "data.digits") == _overrides_of(before, "data.digits"):
        open_keys.append("data.digits")
    if _overrides_of(overrides, "trainer") == _overrides_of(before, "trainer"):
        trainer = vars(config.trainer) | vars(run.config.trainer)
        kept = {key for key, value in vars(config.trainer).items() if value not in (None, "auto")}
        open_keys += [f"trainer.{key}" for key in trainer if key not in kept]
    return open_keys


def _overrides_of(overrides: list[str], key: str) -> set[str]:
    return {it for it in (given.lstrip("+~") for given in overrides) if it.partition("=")[0].startswith(key)}


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value
