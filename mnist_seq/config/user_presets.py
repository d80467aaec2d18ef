"""The user's own presets, checked for renamed keys before Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from mnist_seq.config.config_store import CONFIG_DIR, preset_names
from mnist_seq.config.renamed_keys import RENAMED_TARGETS, check_overrides, conversion_note, new_key
from mnist_seq.config.serialization import dotted_keys
from mnist_seq.errors import UserError

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)


def check_presets(command: str, arguments: list[str]) -> None:
    """Refuse renamed keys in the presets of `--config-dir` and `hydra.searchpath`.

    What is not a YAML mapping is left to Hydra, and so is a search path of another kind than a folder.

    Raises:
        UserError: names the file and the new key.
    """
    for folder in preset_dirs(arguments):
        for path, group in _presets(command, folder, arguments):
            _check_preset(command, path, group)


def chooses_custom_model(arguments: list[str]) -> bool:
    """Whether the model is a preset of the user's that names a class."""
    choices = {name for it in arguments if it.startswith("model=") for name in it.removeprefix("model=").split(",")}
    unknown = choices - set(preset_names("model"))
    files = [folder / "model" / f"{name}.yaml" for folder in preset_dirs(arguments) for name in unknown]
    return any(isinstance(values := _load(path), dict) and "_target_" in values for path in files)


def preset_dirs(arguments: list[str]) -> list[Path]:
    """The folders of the user's presets that a command line names."""
    names = [value for flag, value in pairwise(arguments) if flag in ("--config-dir", "-cd")]
    names += [it.partition("=")[2] for it in arguments if it.startswith("--config-dir=")]
    for it in arguments:
        if it.lstrip("+").startswith("hydra.searchpath="):
            entries = [entry.strip().strip("'\"") for entry in it.partition("=")[2].strip("[]").split(",")]
            folders = [entry for entry in entries if urlparse(entry).scheme in ("file", "")]
            names += [unquote(entry.removeprefix("file://")) for entry in folders]
    return [Path(name) for name in names if name and Path(name).is_dir()]


def _presets(command: str, folder: Path, arguments: list[str]) -> Iterator[tuple[Path, str]]:
    """Files in the folders that are config groups, with their group; at the top, configs of this command."""
    named = [value for flag, value in pairwise(arguments) if flag in ("--config-name", "-cn")]
    for stem in (command, *named):
        if (path := folder / f"{stem.removesuffix('.yaml')}.yaml").is_file():
            yield path, ""
    groups = [path.relative_to(CONFIG_DIR).as_posix() for path in CONFIG_DIR.rglob("*") if path.is_dir()]
    for group in sorted([*groups, "hydra/launcher", "hydra/sweeper"]):
        if group != "search" or command == "search":
            yield from ((path, group) for path in sorted((folder / group).glob("*.yaml")))


def _check_preset(command: str, path: Path, group: str) -> None:
    values = _load(path)
    if not isinstance(values, dict):
        return
    schema = command if group in ("", command) else "train"
    custom_model = (group == "model" and "_target_" in values) or _names_custom_model(values)
    for key, value in dotted_keys(values, _package_prefix(path, group)):
        if new := new_key(schema, key, custom_model):
            raise UserError(f"{path}: {key} is now {new}{conversion_note(key)}")
        if key.rpartition(".")[2] == "_target_" and (target := RENAMED_TARGETS.get(str(value))):
            raise UserError(f"{path}: _target_: {value} is now {target}")
        if schema == "search" and key == "overrides" and isinstance(value, list):
            _check_list(path, value)


def _check_list(path: Path, overrides: Iterable[Any]) -> None:
    try:
        check_overrides("train", [str(it) for it in overrides])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _names_custom_model(values: dict[str, Any]) -> bool:
    model = values.get("model")
    defaults = [it for it in values.get("defaults") or [] if isinstance(it, dict)]
    chosen = [name for it in defaults for key, name in it.items() if key.split()[-1].lstrip("/") == "model"]
    return (isinstance(model, dict) and "_target_" in model) or "custom" in chosen


def _package_prefix(path: Path, group: str) -> str:
    header = _PACKAGE.search(path.read_text(encoding="utf-8"))
    package = header[1] if header else "_group_"
    package = package.replace("_group_", group.replace("/", ".")).replace("_global_", "").strip(".")
    return f"{package}." if package else ""


def _load(path: Path) -> Any:
    """The values of a YAML file; None where it cannot be read, which is for Hydra to report."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
