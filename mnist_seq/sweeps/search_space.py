"""The space of a search: what each key may be. What could not be trained, or not go on, is refused before any trial."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
)
from optuna.study import StudyDirection

from mnist_seq import nn
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import DataConfig, FolderConfig, SearchConfig, TrainConfig
from mnist_seq.config.migrations import SCHEMA_VERSION
from mnist_seq.config.renamed_keys import rename_flat_keys, version_1_parameter
from mnist_seq.config.validation import check
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.sweeps.config_diff import diff_settings, resolved_settings
from mnist_seq.training import hardware
from mnist_seq.training.module import ReaderModule
from mnist_seq.training.trainer_checks import check_trainer_arguments

_SCHEMA_ATTR = "schema_version"
_SETTINGS_ATTR = "settings"
"""Attribute of a study: what all its trials have in common, by dotted key."""


def distribution(candidates: Any) -> BaseDistribution:
    """What Optuna draws a key's values from."""
    if isinstance(candidates, list):
        return CategoricalDistribution(_categorical_choices(candidates))
    return (IntDistribution if _is_integer_range(candidates) else FloatDistribution)(**candidates)


def to_override_value(value: Any) -> str:
    """A value as an override writes it; a string is taken for what it says in Hydra's own grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_quote, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_quote(it)}' for key, it in value.items())}}}"
    return str(value)


def first_choices(space: dict[str, Any]) -> list[str]:
    """The first value of each key of a space, as overrides."""
    return [f"{key}={to_override_value(_values_to_check(among)[0])}" for key, among in space.items()]


def suggest_overrides(trial: optuna.Trial, space: dict[str, Any]) -> list[str]:
    """A value for each key of a space, as overrides."""
    names = _parameter_names(trial.study, space)
    return [f"{key}={to_override_value(_suggest(trial, names[key], among))}" for key, among in space.items()]


def require_valid_space(config: SearchConfig) -> None:
    """Refuse a space with a value that no trial could be trained with, whatever it has for the other keys.

    Each value is tried with the first values of the other keys and, where these do not suit it, with others of theirs.

    Raises:
        UserError: naming the value, and why.
    """
    for key, among in config.space.items():
        for value in _values_to_check(among):
            problems = []
            for chosen in _combinations_with(key, value, config.space):
                if (problem := _config_error([*config.overrides, *chosen])) is None:
                    break
                problems.append(problem)
            else:
                common = _config_error(config.overrides) == problems[0]  # of the overrides, whatever the value
                told = (
                    problems[0]
                    if common
                    else f"space.{key} has {to_override_value(value)}, and no trial could be: {problems[0]}"
                )
                raise UserError(told)


def require_compatible_study(study: optuna.Study, config: SearchConfig) -> None:
    """Refuse to go on with a study whose trials do not compare with those that the config asks for.

    Raises:
        UserError: naming what differs.
    """
    way_out = f"choose another study= and output_dir= than study={config.study} output_dir={config.output_dir}"
    check(
        study.directions == [StudyDirection.MAXIMIZE],
        f"study={config.study} does not maximise one score, as searches do: {way_out}",
    )
    trials = study.get_trials(deepcopy=False)
    if not trials:
        study.set_user_attr(_SCHEMA_ATTR, SCHEMA_VERSION)
    names = _parameter_names(study, config.space)
    for key, among in config.space.items():
        for before in (trial.distributions[names[key]] for trial in trials if names[key] in trial.distributions):
            try:
                check_distribution_compatibility(before, distribution(among))
            except ValueError as problem:
                raise UserError(
                    f"space.{key}={among} is not what trials of this study chose from, "
                    f"{_format_distribution(before)}: {way_out}"
                ) from problem
    common = _shared_settings(config)
    if not trials:
        study.set_user_attr(_SETTINGS_ATTR, common)
    held = study.user_attrs.get(_SETTINGS_ATTR, common)
    if _SCHEMA_ATTR not in study.user_attrs:
        held = rename_flat_keys(held)
    told = ", ".join(
        f"{key}={there}, not {here}" for key, (there, here) in list(diff_settings(held, common).items())[:3]
    )
    check(held == common, f"study={config.study} holds trials with {told}: {way_out}")


def _parameter_names(study: optuna.Study, space: dict[str, Any]) -> dict[str, str]:
    """What each key of a space is called in a study: one that version 1 began keeps the names of version 1."""
    current = _SCHEMA_ATTR in study.user_attrs
    return {key: key if current else version_1_parameter(key) for key in space}


def _suggest(trial: optuna.Trial, key: str, candidates: Any) -> Any:
    if isinstance(candidates, list):
        return trial.suggest_categorical(key, _categorical_choices(candidates))
    return (trial.suggest_int if _is_integer_range(candidates) else trial.suggest_float)(key, **candidates)


def _categorical_choices(candidates: list[Any]) -> list[Any]:
    """As Optuna can keep them: lists and dicts as Hydra spells them."""
    return [to_override_value(it) if isinstance(it, (list, dict)) else it for it in candidates]


def _is_integer_range(candidates: dict[str, Any]) -> bool:
    return isinstance(candidates["low"], int) and isinstance(candidates["high"], int)


def _values_to_check(candidates: Any) -> list[Any]:
    """The choices of a key, or the ends of its range."""
    return [candidates["low"], candidates["high"]] if isinstance(candidates, dict) else candidates


def _combinations_with(key: str, value: Any, space: dict[str, Any]) -> Iterator[list[str]]:
    """Overrides with a value of each key, `value` of this one: the first of the others, then one of them another."""
    first = {other: _values_to_check(among)[0] for other, among in space.items()} | {key: value}
    swaps = [{other: it} for other, among in space.items() if other != key for it in _values_to_check(among)[1:]]
    for swap in [{}, *swaps]:
        yield [f"{name}={to_override_value(it)}" for name, it in (first | swap).items()]


def _config_error(overrides: list[str]) -> str | None:
    """Why a run of these could not be trained, or not be scored."""
    try:
        config = to_dataclass(compose("train", overrides)[0], TrainConfig)
        check(config.resume is None, f"resume={config.resume} cannot be searched: a trial is a run of its own")
        check(_has_val_split(config.data), "a trial is scored on val, and there is none: leave out data.pool=full")
        check_trainer_arguments(hardware.resolve_auto(config.trainer))
        ReaderModule(nn.build(config.model, datasets.spec(config.data)), config.optim, config.loss)
    except UserError as problem:
        return str(problem)
    return None


def _has_val_split(data: DataConfig) -> bool:
    if data.pool == "full":
        return False
    return not isinstance(data, FolderConfig) or "val" in datasets.load_folder(data.path)


def _shared_settings(config: SearchConfig) -> dict[str, Any]:
    """What all trials of a search are trained with, in plain values."""
    composed = compose("train", [*config.overrides, *first_choices(config.space)])[0]
    searched = tuple(f"{key.lstrip('+~')}." for key in config.space)
    known = resolved_settings(to_dataclass(composed, TrainConfig))
    return {key: value for key, value in known.items() if not f"{key}.".startswith(searched)}


def _format_distribution(before: BaseDistribution) -> str:
    if isinstance(before, CategoricalDistribution):
        return str(list(before.choices))
    return str({key: value for key, value in vars(before).items() if value})


def _quote(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[\w./-]+", value):
        return to_override_value(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
