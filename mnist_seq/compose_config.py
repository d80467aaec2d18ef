"""Compose a command's config with Hydra, from the command line and from Python, and choose the directory of its run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mnist_seq.config import TrainConfig, hydra_compat
from mnist_seq.config.composition_errors import explain
from mnist_seq.config.config_store import CONFIG_DIR, register_schemas
from mnist_seq.config.override_syntax import split_override
from mnist_seq.config.renamed_keys import version_1_overrides
from mnist_seq.config.sweep_syntax import require_multirun
from mnist_seq.errors import UserError, one_line
from mnist_seq.override_shorthands import expand_shorthands, make_paths_absolute
from mnist_seq.run_dir import Run

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")


class ComposedConfig(NamedTuple):
    """A config and the directory of its run."""

    config: DictConfig
    run_dir: Path
    is_default_dir: bool
    """Whether the directory has the default name, which another run may have too."""


def compose(command: str, overrides: list[str], single_run: bool = False) -> ComposedConfig:
    """Compose the config that a command line would give.

    Args:
        command: the name of the command, such as "train".
        overrides: as on the command line.
        single_run: refuse a sweep.

    Raises:
        UserError: unknown key or preset, value of the wrong type, or a sweep although `single_run`.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    setup_hydra()
    try:
        with hydra_compat.initialize_config_dir(CONFIG_DIR):
            cfg = hydra.compose(command, expand_shorthands(command, overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    if single_run:
        require_multirun(OmegaConf.select(cfg, "hydra.sweeper.params"), overrides)
    run_dir, is_default = Path(OmegaConf.select(cfg, "hydra.run.dir")), is_default_dir(cfg.hydra.run)
    with open_dict(cfg):
        del cfg["hydra"]
    make_paths_absolute(cfg, Path.cwd())
    return ComposedConfig(cfg, run_dir, is_default)


def compose_training(overrides: list[str]) -> TrainConfig:
    """Compose the config of a training run, as its dataclass.

    Raises:
        UserError: as for `compose` and `to_dataclass`.
    """
    return to_dataclass(compose("train", overrides).config, TrainConfig)


def to_dataclass(cfg: DictConfig, schema: type[T]) -> T:
    """Convert a composed config to its dataclass, which validates it; past this point there is no OmegaConf.

    Raises:
        UserError: invalid, missing or unresolvable value.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    assert isinstance(config, schema)
    return config


def setup_hydra() -> None:
    """Register the schemas, and the resolvers that name run and job directories."""
    register_schemas()
    hydra_compat.register_resolver("mnist_seq.run_directory", default_run_dir, use_cache=True)
    hydra_compat.register_resolver("mnist_seq.job_dir", _job_dir)


def is_default_dir(node: DictConfig) -> bool:
    """Whether the `dir` of `hydra.run` or `hydra.sweep` is the default one."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_container(node, resolve=False)["dir"]).startswith("${mnist_seq.run_directory:")  # type: ignore[index, call-overload]


def default_run_dir(resume: str | None) -> str:
    """The directory of the run to resume, or a new one named after date and time."""
    for path in [Path(resume), Path(resume).parent.parent] if resume else []:  # a run, or its last.ckpt
        if Run(path).exists:
            return str(path)
    return datetime.now().strftime("outputs/%Y-%m-%d/%H-%M-%S")


def _job_dir(sweep_dir: str, overrides: Sequence[str]) -> str:
    """The directory of a job below that of its sweep; where version 1 began the job, the name that it gave."""
    former = job_name(version_1_overrides(list(overrides)))
    return former if Path(sweep_dir, former).is_dir() else job_name(overrides)


def job_name(overrides: Sequence[str]) -> str:
    """Name the directory of a job: its overrides, shortened, and a hash of all of them.

    The same job has the same name, so a sweep that is started again continues; no two jobs share one.
    """
    pairs = [(key, value[1:]) for _, key, value in map(split_override, overrides)]
    words = "_".join(re.sub(r"[^\w.+-]+", "-", f"{key.split('.')[-1]}-{value}") for key, value in pairs)
    return f"{words[-160:].lstrip('_-')}_{overrides_hash(overrides)}"


def overrides_hash(overrides: Sequence[str]) -> str:
    """Hash a set of overrides, in any order: 8 hex digits."""
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]
