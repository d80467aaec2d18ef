"""Where the YAML presets lie, and the schemas that they inherit from."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from mnist_seq import config

_PACKAGE = Path(__file__).resolve().parent.parent
CONFIG_DIR = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
"""The folder of YAML presets: inside an installed package, beside it in a checkout."""


def preset_names(group: str) -> list[str]:
    """The presets of a group: files of `configs/<group>/`."""
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def load_preset(group: str, name: str) -> tuple[dict[str, Any], list[str]]:
    """The values that `configs/<group>/<name>.yaml` states itself, and the schemas that it inherits the others from."""
    import yaml

    values = yaml.safe_load((CONFIG_DIR / group / f"{name}.yaml").read_text(encoding="utf-8"))
    inherited = (str(part).partition("@")[0] for part in values.pop("defaults", []))
    return values, [part.removeprefix("schema/") for part in inherited if part.startswith("schema/")]


@cache
def register_schemas() -> None:
    """Show the schemas to Hydra; each preset in `configs/` names the one it inherits as `schema/<name>`."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for name, model in config.MODEL_CONFIGS.items():
        store.store(group="model/schema", name=name, node=model, package="model")
    for name, family in config.FAMILY_CONFIGS.items():
        store.store(group="data/schema", name=name, node=family)
    store.store(group="data/augment/schema", name="augment", node=config.AugmentConfig)
    store.store(group="optim/schema", name="optim", node=config.OptimConfig, package="optim")
    store.store(group="loss/schema", name="loss", node=config.LossConfig, package="loss")
    store.store(group="trainer/schema", name="trainer", node=config.TrainerConfig, package="trainer")
    store.store(group="schema", name="train", node=config.TrainConfig, package="_global_")
    store.store(group="schema", name="evaluate", node=config.EvaluateConfig, package="_global_")
    store.store(group="schema", name="export", node=config.ExportConfig, package="_global_")
    store.store(group="schema", name="report", node=config.ReportConfig, package="_global_")
    store.store(group="schema", name="results", node=config.ResultsConfig, package="_global_")
    store.store(group="schema", name="compare", node=config.CompareConfig, package="_global_")
    store.store(group="schema", name="serve", node=config.ServeConfig, package="_global_")
    store.store(group="schema", name="synthesise", node=config.SynthesiseConfig, package="_global_")
    store.store(group="schema", name="bench", node=config.BenchConfig, package="_global_")
    store.store(group="schema", name="search", node=config.SearchConfig, package="_global_")
    store.store(group="hydra/launcher", name="devices", node=config.DevicesLauncherConfig, provider="mnist_seq")
