"""The search space: the candidate values of each key, checked before the first trial.

Candidates are a list of choices or a range, {low, high, log, step}, as SearchConfig.space holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
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
from mnist_seq.compose_config import compose_training
from mnist_seq.config import DataConfig, FolderConfig, SearchConfig, TrainConfig
from mnist_seq.config.migrations import SCHEMA_VERSION, migrate_settings
from mnist_seq.config.renamed_keys import version_1_parameter
from mnist_seq.config.serialization import diff_settings
from mnist_seq.config.validation import check
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.sweeps.config_diff import format_differences, resolved_settings
from mnist_seq.training import hardware
from mnist_seq.training.module import ReaderModule
from mnist_seq.training.trainer_checks import check_trainer_arguments

_SCHEMA_ATTR = "schema_version"
"""Study attribute: the version of its config keys; missing in version 1."""
_SETTINGS_ATTR = "settings"
"""Study attribute: the settings that all its trials share, by dotted key."""


def distribution(candidates: Any) -> BaseDistribution:
    """The Optuna distribution of a key's candidates."""
    if isinstance(candidates, list):
        return CategoricalDistribution(_categorical_choices(candidates))
    return (IntDistribution if _is_integer_range(candidates) else FloatDistribution)(**candidates)


def to_override_value(value: Any) -> str:
    """Format a value in Hydra's override grammar; a string at the top level is taken as it is."""
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
    """Overrides with the first candidate of each key."""
    return [f"{key}={to_override_value(_values_to_check(candidates)[0])}" for key, candidates in space.items()]


def suggest_overrides(trial: optuna.Trial, space: dict[str, Any]) -> list[str]:
    """Overrides with the value that the trial suggests for each key."""
    names = _parameter_names(trial.study, space)
    return [f"{key}={to_override_value(_suggest(trial, names[key], candidates))}" for key, candidates in space.items()]


def require_valid_space(config: SearchConfig) -> None:
    """Require that each candidate can be trained with some combination of the other keys.

    A candidate is tried with the first candidates of the other keys, then with one of those replaced at a time.

    Raises:
        UserError: names the first candidate that cannot be trained, and why.
    """
    for key, candidates in config.space.items():
        for value in _values_to_check(candidates):
            combinations = _combinations_with(key, value, config.space)
            errors = (_config_error([*config.overrides, *overrides]) for overrides in combinations)
            if (error := next(errors)) is None or None in errors:
                continue
            check(_config_error(config.overrides) != error, error)  # no candidate is to blame
            raise UserError(f"space.{key}={to_override_value(value)} is invalid in every combination: {error}")


def require_compatible_study(study: optuna.Study, config: SearchConfig) -> None:
    """Require that the trials of a study compare with those of this search, and record what the trials share.

    Raises:
        UserError: the study does not maximize, or its candidates or shared settings differ from those of the search.
    """
    hint = f"choose another study= and output_dir= than study={config.study} output_dir={config.output_dir}"
    check(
        study.directions == [StudyDirection.MAXIMIZE],
        f"study={config.study} does not maximize a single objective: {hint}",
    )
    trials = study.get_trials(deepcopy=False)
    if not trials:
        study.set_user_attr(_SCHEMA_ATTR, SCHEMA_VERSION)
    names = _parameter_names(study, config.space)
    for key, candidates in config.space.items():
        for earlier in (trial.distributions[names[key]] for trial in trials if names[key] in trial.distributions):
            try:
                check_distribution_compatibility(earlier, distribution(candidates))
            except ValueError as error:
                raise UserError(
                    f"space.{key}={candidates} does not match the distribution of this study's earlier trials, "
                    f"{_format_distribution(earlier)}: {hint}"
                ) from error
    composed = compose_training([*config.overrides, *first_choices(config.space)])
    requested = _shared_settings(composed, config.space)
    if not trials:
        study.set_user_attr(_SETTINGS_ATTR, requested)
    saved = study.user_attrs.get(_SETTINGS_ATTR, requested)
    saved = migrate_settings(saved, study.user_attrs.get(_SCHEMA_ATTR, 1))
    added_since = requested.keys() - saved.keys()
    saved = saved | {key: default for key in added_since if (default := _schema_default(composed, key)) is not None}
    differences = diff_settings(saved, requested)
    check(not differences, f"study={config.study} holds trials with {format_differences(differences)}: {hint}")


def _parameter_names(study: optuna.Study, space: dict[str, Any]) -> dict[str, str]:
    """Key -> name of its parameter in the study; a study that version 1 created keeps the key names of version 1."""
    current = _SCHEMA_ATTR in study.user_attrs
    return {key: key if current else version_1_parameter(key) for key in space}


def _suggest(trial: optuna.Trial, key: str, candidates: Any) -> Any:
    if isinstance(candidates, list):
        return trial.suggest_categorical(key, _categorical_choices(candidates))
    return (trial.suggest_int if _is_integer_range(candidates) else trial.suggest_float)(key, **candidates)


def _categorical_choices(candidates: list[Any]) -> list[Any]:
    """Choices that Optuna can store: lists and dicts are formatted as override values."""
    return [to_override_value(it) if isinstance(it, (list, dict)) else it for it in candidates]


def _is_integer_range(candidates: dict[str, Any]) -> bool:
    return isinstance(candidates["low"], int) and isinstance(candidates["high"], int)


def _values_to_check(candidates: Any) -> list[Any]:
    """All choices of a key, or both ends of its range."""
    return [candidates["low"], candidates["high"]] if isinstance(candidates, dict) else candidates


def _combinations_with(key: str, value: Any, space: dict[str, Any]) -> Iterator[list[str]]:
    """Yield overrides with `value` for `key`: the others have their first candidates, then one of them another."""
    values = {name: _values_to_check(candidates) for name, candidates in space.items()}
    first = {name: candidates[0] for name, candidates in values.items()} | {key: value}
    replacements = [{name: it} for name, candidates in values.items() if name != key for it in candidates[1:]]
    for replacement in [{}, *replacements]:
        yield [f"{name}={to_override_value(it)}" for name, it in (first | replacement).items()]


def _config_error(overrides: list[str]) -> str | None:
    """Why a run with these overrides cannot be trained or scored; None if it can."""
    try:
        config = compose_training(overrides)
        check(config.resume is None, f"resume={config.resume} cannot be searched: each trial is a new run")
        check(_has_val_split(config.data), "a trial is scored on the val split, which is empty: remove data.pool=full")
        check_trainer_arguments(hardware.resolve_auto(config.trainer))
        ReaderModule(nn.build(config.model, datasets.spec(config.data)), config.optim, config.loss)
    except UserError as error:
        return str(error)
    return None


def _has_val_split(data: DataConfig) -> bool:
    return data.pool != "full" and (not isinstance(data, FolderConfig) or "val" in datasets.load_folder(data))


def _shared_settings(composed: TrainConfig, space: dict[str, Any]) -> dict[str, Any]:
    """The settings that all trials of a search share, by dotted key."""
    searched = tuple(f"{key.lstrip('+~')}." for key in space)
    settings = resolved_settings(composed)
    return {key: value for key, value in settings.items() if not f"{key}.".startswith(searched)}


def _schema_default(config: TrainConfig, key: str) -> Any:
    """The value that runs had before a key was added; None for a key without a default."""
    *path, name = key.split(".")
    group: Any = config
    for part in path:
        group = getattr(group, part, None)
    defaults = {field.name: field.default for field in fields(group)} if is_dataclass(group) else {}
    return None if defaults.get(name) is MISSING else defaults.get(name)


def _format_distribution(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return str(list(distribution.choices))
    return str({key: value for key, value in vars(distribution).items() if value})


def _quote(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[\w./-]+", value):
        return to_override_value(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
