"""Lightning's Trainer for a run."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from mnist_seq.config import TrainerConfig
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from mnist_seq.training import distributed
from mnist_seq.training.checkpoints import AtomicCheckpointIO
from mnist_seq.training.rng_state import get_rng_states, set_rng_states

_IGNORED_WARNINGS = (
    ".*LeafSpec.* is deprecated",
    "The number of training batches",
    "Total length of `list`",
    "The `srun` command is available",
)
"""Warnings of Lightning and torch that do not apply here."""


def build_trainer(
    config: TrainerConfig, run: Run, loggers: list[Logger], callbacks: list[Callback], has_validation: bool
) -> L.Trainer:
    """Build a Trainer that writes only into the run directory.

    Args:
        config: without `auto`.
        run: where the Trainer writes.
        loggers: all loggers of the run.
        callbacks: all callbacks of the run.
        has_validation: whether there are scenes to validate on.

    Raises:
        UserError: Lightning's Trainer refuses the arguments.
    """
    arguments = config.lightning_kwargs()
    fixed: dict[str, Any] = {
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
        # ranks have different numbers of validation batches, so the forward pass must not synchronize
        arguments["strategy"] = DDPStrategy(broadcast_buffers=False)
    try:
        return L.Trainer(**fixed | arguments)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise UserError(f"trainer: {error}") from error


@contextmanager
def isolate_global_state() -> Iterator[None]:
    """Restore random states, warning filters and the levels of Lightning's log handlers.

    Within the context, Lightning's hints only go to run.log.
    """
    with warnings.catch_warnings(), ExitStack() as restore:
        restore.callback(set_rng_states, get_rng_states())
        for handler in logging.getLogger("lightning.pytorch").handlers:
            if type(handler) is logging.StreamHandler:
                restore.callback(handler.setLevel, handler.level)
                handler.setLevel(logging.WARNING)
        for pattern in _IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        yield
