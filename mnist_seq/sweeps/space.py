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

from mnist_seq import command, nn
from mnist_seq.config import DataConfig, FolderConfig, SearchConfig, TrainConfig
from mnist_seq.config.law import require
from mnist_seq.data import folder, sets
from mnist_seq.errors import UserError
from mnist_seq.learn import machine
from mnist_seq.learn.checks import check_arguments
from mnist_seq.learn.modules import ReaderModule
from mnist_seq.sweeps.settings import differences, settings

_SETTINGS = "settings"
"""Attribute of a study: what all its trials have in common, by dotted key."""


def distribution(among: Any) -> BaseDistribution:
    """What Optuna draws a key's values from."""
    if isinstance(among, list):
        return CategoricalDistribution(_choices(among))
    return (IntDistribution if _whole(among) else FloatDistribution)(**among)


def spelled(value: Any) -> str:
    """A value as an override writes it; a string is taken for what it says in Hydra's own grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_quoted(it)}' for key, it in value.items())}}}"
    return str(value)


def likely(space: dict[str, Any]) -> list[str]:
    """The first value of each key of a space, as overrides."""
    return [f"{key}={spelled(_values(among)[0])}" for key, among in space.items()]


def suggested(trial: optuna.Trial, space: dict[str, Any]) -> list[str]:
    """A value for each key of a space, as overrides."""
    return [f"{key}={spelled(_suggest(trial, key, among))}" for key, among in space.items()]


def require_trainable(config: SearchConfig) -> None:
    """Refuse a space with a value that no trial could be trained with, whatever it has for the other keys.

    Each value is tried with the first values of the other keys and, where these do not suit it, with others of theirs.

    Raises:
        UserError: naming the value, and why.
    """
    for key, among in config.space.items():
        for value in _values(among):
            problems = []
            for chosen in _with(key, value, config.space):
                if (problem := _problem([*config.overrides, *chosen])) is None:
                    break
                problems.append(problem)
            else:
                common = _problem(config.overrides) == problems[0]  # of the overrides, whatever the value
                told = (
                    problems[0] if common else f"space.{key} has {spelled(value)}, and no trial could be: {problems[0]}"
                )
                raise UserError(told)


def require_continuable(study: optuna.Study, config: SearchConfig) -> None:
    """Refuse to go on with a study whose trials do not compare with those that the config asks for.

    Raises:
        UserError: naming what differs.
    """
    way_out = f"choose another study= and to= than study={config.study} to={config.to}"
    require(
        study.directions == [StudyDirection.MAXIMIZE],
        f"study={config.study} does not maximise one score, as searches do: {way_out}",
    )
    trials = study.get_trials(deepcopy=False)
    for key, among in config.space.items():
        for before in (trial.distributions[key] for trial in trials if key in trial.distributions):
            try:
                check_distribution_compatibility(before, distribution(among))
            except ValueError as problem:
                raise UserError(
                    f"space.{key}={among} is not what trials of this study chose from, {_told(before)}: {way_out}"
                ) from problem
    common = _in_common(config)
    if not trials:
        study.set_user_attr(_SETTINGS, common)
    held = study.user_attrs.get(_SETTINGS, common)
    told = ", ".join(f"{key}={there}, not {here}" for key, (there, here) in list(differences(held, common).items())[:3])
    require(held == common, f"study={config.study} holds trials with {told}: {way_out}")


def _suggest(trial: optuna.Trial, key: str, among: Any) -> Any:
    if isinstance(among, list):
        return trial.suggest_categorical(key, _choices(among))
    return (trial.suggest_int if _whole(among) else trial.suggest_float)(key, **among)


def _choices(among: list[Any]) -> list[Any]:
    """As Optuna can keep them: lists and dicts as Hydra spells them."""
    return [spelled(it) if isinstance(it, (list, dict)) else it for it in among]


def _whole(among: dict[str, Any]) -> bool:
    return isinstance(among["low"], int) and isinstance(among["high"], int)


def _values(among: Any) -> list[Any]:
    """The choices of a key, or the ends of its range."""
    return [among["low"], among["high"]] if isinstance(among, dict) else among


def _with(key: str, value: Any, space: dict[str, Any]) -> Iterator[list[str]]:
    """Overrides with a value of each key, `value` of this one: the first of the others, then one of them another."""
    first = {other: _values(among)[0] for other, among in space.items()} | {key: value}
    swaps = [{other: it} for other, among in space.items() if other != key for it in _values(among)[1:]]
    for swap in [{}, *swaps]:
        yield [f"{name}={spelled(it)}" for name, it in (first | swap).items()]


def _problem(overrides: list[str]) -> str | None:
    """Why a run of these could not be trained, or not be scored."""
    try:
        config = command.typed(command.compose("train", overrides)[0], TrainConfig)
        require(config.resume is None, f"resume={config.resume} cannot be searched: a trial is a run of its own")
        require(_validates(config.data), "a trial is scored on val, and there is none: leave out data.pool=full")
        check_arguments(machine.suited(config.trainer))
        ReaderModule(nn.build(config.model, sets.spec(config.data)), config.optim, config.loss)
    except UserError as problem:
        return str(problem)
    return None


def _validates(data: DataConfig) -> bool:
    if data.pool == "full":
        return False
    return not isinstance(data, FolderConfig) or "val" in folder.load(data.path)


def _in_common(config: SearchConfig) -> dict[str, Any]:
    """What all trials of a search are trained with, in plain values."""
    composed = command.compose("train", [*config.overrides, *likely(config.space)])[0]
    searched = tuple(f"{key.lstrip('+~')}." for key in config.space)
    known = settings(command.typed(composed, TrainConfig))
    return {key: value for key, value in known.items() if not f"{key}.".startswith(searched)}


def _told(before: BaseDistribution) -> str:
    if isinstance(before, CategoricalDistribution):
        return str(list(before.choices))
    return str({key: value for key, value in vars(before).items() if value})


def _quoted(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[\w./-]+", value):
        return spelled(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
