"""Shorthands on a command line beyond Hydra's own overrides, and relative paths."""

from __future__ import annotations

import re
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
_PATHS = ["run", "init_from", "resume", "images", "output", "output_dir", "data.path", "data.from", "calibrate_on"]
_PATHS += ["hydra.run.dir", "hydra.sweep.dir"]
"""Keys of paths."""
_PATH_LISTS = ("runs", "seed_runs")
_NUMBER = re.compile(r"[-+]?[\d_.]+([eE][-+]?\d+)?", re.ASCII)
OPTIONAL_GROUPS = ("callbacks", "logger", "experiment", "ablation")
"""Config groups that may have no choice."""
_REQUIRED_GROUPS = ("model", "optim", "loss", "trainer")


def expand_shorthands(command: str, overrides: Iterable[str]) -> list[str]:
    """Expand shorthands to overrides that Hydra understands.

    `data.from=DIR` becomes `data=folder data.path=DIR`, since `from` is a keyword of Python and cannot be a field.
    `callbacks=null` becomes `callbacks=[]`, since Hydra cannot choose null from a group.
    `resume=latest` becomes a path, once, so that all processes of a run resume the same.
    A path that looks like a number is quoted, since Hydra reads 2024_01 as 202401 and 007 as 7.

    Raises:
        UserError: renamed key, contradictory overrides, or no run to resume.
    """
    overrides = list(overrides)
    check_overrides(command, overrides, chooses_custom_model(overrides))
    overrides = _expand_data_from([_quote_path(_expand_null(it)) for it in overrides])
    return [format_override("resume", latest_unfinished()) if it == "resume=latest" else it for it in overrides]


def _expand_null(override: str) -> str:
    key, equals, value = override.partition("=")
    choices = value.split(",")
    if not equals or not any(it.strip().lower() == "null" for it in choices):
        return override
    if key in _REQUIRED_GROUPS:
        raise UserError(f"{override} is not possible: choose from {', '.join(config_store.preset_names(key))}")
    if key in OPTIONAL_GROUPS:
        return f"{key}=" + ",".join("[]" if it.strip().lower() == "null" else it for it in choices)
    return override


def _quote_path(override: str) -> str:
    key, _, value = override.partition("=")
    if key in _PATH_LISTS and value[:1] == "[" and value[-1:] == "]":
        return f"{key}=[{','.join(map(_quote_number, value[1:-1].split(',')))}]"
    return f"{key}={_quote_number(value)}" if key.lstrip("+") in _PATHS else override


def _quote_number(value: str) -> str:
    return f'"{value}"' if _NUMBER.fullmatch(value) else value


def _expand_data_from(overrides: list[str]) -> list[str]:
    if not any(it.startswith(_DATA_FROM) for it in overrides):
        return overrides
    for it in overrides:
        if it.startswith("data=") and it != "data=folder":
            raise UserError(f"{_DATA_FROM}DIR means data=folder: leave out {it}")
    expanded = [f"data.path={it.removeprefix(_DATA_FROM)}" if it.startswith(_DATA_FROM) else it for it in overrides]
    return ["data=folder", *(it for it in expanded if it != "data=folder")]


def make_paths_absolute(cfg: DictConfig, base_dir: Path) -> None:
    """Make the paths of a training config absolute, so that the run can be resumed from any directory.

    Args:
        base_dir: the directory in which the command was started; hydra.job.chdir may have left it since.
    """
    from omegaconf import OmegaConf

    for key in ("init_from", "data.path", *(["resume"] if base_dir != Path.cwd() else [])):
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        if isinstance(value, str) and value and not value.startswith("pretrained:"):
            OmegaConf.update(cfg, key, str(base_dir / value))
