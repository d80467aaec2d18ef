"""Hydra's config store: the schemas that the YAML presets inherit from, and the configs of the commands."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from mnist_seq.config.commands import COMMANDS
from mnist_seq.config.corruptions import CorruptionConfig
from mnist_seq.config.data import AugmentConfig
from mnist_seq.config.families import FAMILY_CONFIGS
from mnist_seq.config.model import MODEL_CONFIGS
from mnist_seq.config.sweeps import DevicesLauncherConfig
from mnist_seq.config.training import LossConfig, OptimConfig, TrainerConfig

_PACKAGE = Path(__file__).resolve().parent.parent
CONFIG_DIR = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
"""The folder of YAML presets: inside an installed package, beside it in a checkout."""


def preset_names(group: str) -> list[str]:
    """The presets of a group: the files of `configs/<group>/`."""
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


@cache
def register_schemas() -> None:
    """Store every schema under the name by which presets inherit it, `schema/<name>`, and the configs of commands."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, model in MODEL_CONFIGS.items():
        store.store(group="model/schema", name=name, node=model, package="model")
    for name, family in FAMILY_CONFIGS.items():
        store.store(group="data/schema", name=name, node=family)
    store.store(group="data/augment/schema", name="augment", node=AugmentConfig)
    store.store(group="data/corruptions/schema", name="corruptions", node=CorruptionConfig)
    for name, schema in {"optim": OptimConfig, "loss": LossConfig, "trainer": TrainerConfig}.items():
        store.store(group=f"{name}/schema", name=name, node=schema, package=name)
    store.store(group="hydra/launcher", name="devices", node=DevicesLauncherConfig, provider="mnist_seq")
    for name, command in COMMANDS.items():
        if command.schema:
            store.store(group="schema", name=name, node=command.schema, package="_global_")
            if not (CONFIG_DIR / f"{name}.yaml").is_file():
                store.store(name=name, node=_command_config(name))


def _command_config(name: str) -> dict[str, Any]:
    """The primary config of a command that writes no run directory and logs nothing of its own."""
    command = COMMANDS[name]
    logging_off = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}]
    groups = [{group: preset} for group, preset in command.groups.items()]
    hydra = {"job": {"name": name}, "run": {"dir": "."}, "output_subdir": None} | command.values.get("hydra", {})
    return {"defaults": [{"schema": name}, *groups, *logging_off, "_self_"], **command.values, "hydra": hydra}
