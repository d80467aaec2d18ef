"""What may be written on a command line beyond Hydra's own overrides, and what relative paths are relative to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import presets
from mnist_seq.command_line import override
from mnist_seq.errors import UserError
from mnist_seq.run import latest_unfinished

if TYPE_CHECKING:
    from omegaconf import DictConfig

_FROM = "data.from="
_LATEST = "resume=latest"
OPTIONAL = ("callbacks", "logger", "experiment", "ablation")
"""Groups of which none may be chosen."""
_REQUIRED = ("model", "optim", "loss", "trainer")


def spelled_out(overrides: Iterable[str]) -> list[str]:
    """The overrides as Hydra knows them.

    `data.from=DIR` is `data=folder data.path=DIR`: `from` is a keyword of Python, and no name for a field.
    `callbacks=null` is `callbacks=[]`: to Hydra, null is no choice from a group.
    `resume=latest` names the run here, once, so that all processes that share it mean the same.

    Raises:
        UserError: overrides that contradict each other, or no run to resume.
    """
    return [_resolved(it) for it in _from_folder([_with_none(it) for it in overrides])]


def _with_none(given: str) -> str:
    key, equals, value = given.partition("=")
    choices = value.split(",")
    if not equals or not any(it.strip().lower() == "null" for it in choices):
        return given
    if key in _REQUIRED:
        raise UserError(f"{given}: one is needed, choose from {', '.join(presets.names(key))}")
    if key in OPTIONAL:
        return f"{key}=" + ",".join("[]" if it.strip().lower() == "null" else it for it in choices)
    return given


def _from_folder(overrides: list[str]) -> list[str]:
    if not any(given.startswith(_FROM) for given in overrides):
        return overrides
    for given in overrides:
        if given.startswith("data=") and given != "data=folder":
            raise UserError(f"{_FROM}DIR means data=folder: leave out {given}")
    spelled = [f"data.path={it.removeprefix(_FROM)}" if it.startswith(_FROM) else it for it in overrides]
    return ["data=folder", *(it for it in spelled if it != "data=folder")]


def _resolved(given: str) -> str:
    return override("resume", latest_unfinished()) if given == _LATEST else given


def make_absolute(cfg: DictConfig, start: Path) -> None:
    """Paths of a training run's config are relative to where the command was started, wherever Hydra has gone since.

    What config.yaml keeps of them is absolute, so that a run can be resumed from anywhere.

    Args:
        start: the working directory in which the command was started.
    """
    from omegaconf import OmegaConf

    for key in ("init_from", "data.path", *(["resume"] if start != Path.cwd() else [])):
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        if isinstance(value, str) and value and not value.startswith("pretrained:"):
            OmegaConf.update(cfg, key, str(start / value))
