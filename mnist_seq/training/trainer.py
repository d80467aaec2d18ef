"""From a config to Lightning's Trainer: its arguments, loggers and callbacks."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from hydra.errors import HydraException, InstantiationException
from hydra.utils import get_object
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from mnist_seq.config import TrainerConfig
from mnist_seq.config.hydra_compat import instantiate
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from mnist_seq.training import distributed
from mnist_seq.training.checkpoints import AtomicCheckpointIO, get_rng_states, set_rng_states

_INSTANTIATE_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")
"""Of a `_target_`'s values, those that `hydra.utils.instantiate` keeps for itself."""

_IGNORED_WARNINGS = (
    ".*LeafSpec.* is deprecated",
    "The number of training batches",
    "Total length of `list`",
    "The `srun` command is available",
)
"""Warnings of Lightning and torch that tell nobody anything here."""


def build_trainer(
    config: TrainerConfig, run: Run, loggers: list[Logger], callbacks: list[Callback], has_validation: bool
) -> L.Trainer:
    """A Trainer that keeps to the run's directory.

    Args:
        validates: there are scenes to validate on.

    Raises:
        UserError: arguments that Lightning's Trainer refuses.
    """
    arguments = config.lightning_kwargs()
    ours: dict[str, Any] = {
        "default_root_dir": run.path,
        "logger": loggers,
        "callbacks": callbacks,
        "plugins": [AtomicCheckpointIO(), distributed.cluster_environment(config)],
        "check_val_every_n_epoch": None,
        "limit_val_batches": None if has_validation else 0,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    if config.strategy == "ddp" or config.world_size > 1:
        # ranks validate different numbers of batches: nothing may wait for the others there
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False)
    try:
        return L.Trainer(**ours | arguments)
    except (MisconfigurationException, TypeError, ValueError) as problem:
        raise UserError(f"trainer: {problem}") from problem


@contextmanager
def isolate_global_state() -> Iterator[None]:
    """Random states, warning filters and the levels of Lightning's handlers are as before, afterwards.

    Within, its hints and advertisements go to run.log alone.
    """
    before = get_rng_states()
    handlers = [it for it in logging.getLogger("lightning.pytorch").handlers if type(it) is logging.StreamHandler]
    levels = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for noise in _IGNORED_WARNINGS:
                warnings.filterwarnings("ignore", message=noise)
            yield
    finally:
        set_rng_states(before)
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


def instantiate_targets(configs: dict[str, Any] | None, key: str, **defaults: Any) -> list[Any]:
    """The objects that a group of `_target_`s describes, each given what is offered and its signature asks for.

    Raises:
        ValueError: a target that cannot be found or built.
    """
    built = []
    for name, values in (configs or {}).items():
        if values is None:
            continue
        if not isinstance(values, dict) or "_target_" not in values:
            raise UserError(f"{key}.{name} has no _target_: name the class to build")
        try:
            signature = inspect.signature(get_object(values["_target_"]))
            extra = {it: value for it, value in defaults.items() if it in signature.parameters and it not in values}
            signature.bind(**{it: value for it, value in (values | extra).items() if it not in _INSTANTIATE_KEYS})
        except (HydraException, ImportError, TypeError, ValueError) as problem:
            raise UserError(f"{key}.{name} cannot be built: {str(problem).splitlines()[0]}") from problem
        try:
            built.append(instantiate(values | extra))
        except InstantiationException as problem:
            if isinstance(problem.__cause__, (UserError, MisconfigurationException)):
                raise UserError(f"{key}.{name} cannot be built: {problem.__cause__}") from problem
            raise
    return built
