"""What may be written on a command line beyond Hydra's own overrides, and what relative paths are relative to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq.config import config_store
from mnist_seq.config.override_syntax import format_override
from mnist_seq.config.renamed_keys import check_overrides
from mnist_seq.config.user_presets import chooses_custom_model
from mnist_seq.errors import UserError
from mnist_seq.find_runs import latest_unfinished

if TYPE_CHECKING:
    from omegaconf import DictConfig

_DATA_FROM = "data.from="
_RESUME_LATEST = "resume=latest"
OPTIONAL_GROUPS = ("callbacks", "logger", "experiment", "ablation")
"""Groups of which none may be chosen."""
_REQUIRED_GROUPS = ("model", "optim", "loss", "trainer")


def expand_shorthands(command: str, overrides: Iterable[str]) -> list[str]:
    """The overrides of a command as Hydra knows them.

    `data.from=DIR` is `data=folder data.path=DIR`: `from` is a keyword of Python, and no name for a field.
    `callbacks=null` is `callbacks=[]`: to Hydra, null is no choice from a group.
    `resume=latest` names the run here, once, so that all processes that share it mean the same.

    Raises:
        UserError: a key that was renamed, overrides that contradict each other, or no run to resume.
    """
    overrides = list(overrides)
    check_overrides(command, overrides, chooses_custom_model(overrides))
    return [_expand_latest(it) for it in _expand_data_from([_expand_null(it) for it in overrides])]


def _expand_null(override: str) -> str:
    key, equals, value = override.partition("=")
    choices = value.split(",")
    if not equals or not any(it.strip().lower() == "null" for it in choices):
        return override
    if key in _REQUIRED_GROUPS:
        raise UserError(f"{override}: one is needed, choose from {', '.join(config_store.preset_names(key))}")
    if key in OPTIONAL_GROUPS:
        return f"{key}=" + ",".join("[]" if it.strip().lower() == "null" else it for it in choices)
    return override


def _expand_data_from(overrides: list[str]) -> list[str]:
    if not any(given.startswith(_DATA_FROM) for given in overrides):
        return overrides
    for given in overrides:
        if given.startswith("data=") and given != "data=folder":
            raise UserError(f"{_DATA_FROM}DIR means data=folder: leave out {given}")
    spelled = [f"data.path={it.removeprefix(_DATA_FROM)}" if it.startswith(_DATA_FROM) else it for it in overrides]
    return ["data=folder", *(it for it in spelled if it != "data=folder")]


def _expand_latest(override: str) -> str:
    return format_override("resume", latest_unfinished()) if override == _RESUME_LATEST else override


def make_paths_absolute(cfg: DictConfig, base_dir: Path) -> None:
    """Paths of a training run's config are relative to where the command was started, wherever Hydra has gone since.

    What config.yaml keeps of them is absolute, so that a run can be resumed from anywhere.

    Args:
        start: the working directory in which the command was started.
    """
    from omegaconf import OmegaConf

    for key in ("init_from", "data.path", *(["resume"] if base_dir != Path.cwd() else [])):
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        if isinstance(value, str) and value and not value.startswith("pretrained:"):
            OmegaConf.update(cfg, key, str(base_dir / value))
