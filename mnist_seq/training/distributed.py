"""The rank of this process in its run, which depends on the run's number of processes, not on the environment alone.

Lightning reads `SLURM_PROCID`, `RANK` etc. when it is imported, and a process with a rank other than 0 writes nothing.
Slurm sets its variables for every task of `srun -n 4`, even if each task trains a run of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities import rank_zero_only

from mnist_seq.config import TrainerConfig
from mnist_seq.config.validation import check
from mnist_seq.errors import UserError

_LAUNCHERS: dict[str, type[ClusterEnvironment]] = {
    "torchrun": TorchElasticEnvironment,
    "srun": SLURMEnvironment,
    "jsrun": LSFEnvironment,
    "mpirun": MPIEnvironment,
}
"""Launchers of the processes of a run, in the order in which Lightning looks for them."""


class SingleProcessEnvironment(LightningEnvironment):
    """A run of one process, whatever rank the environment names."""

    @property
    def creates_processes_externally(self) -> bool:
        return True  # there is no further process to start

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0


def cluster_environment(config: TrainerConfig) -> ClusterEnvironment:
    """Return the environment that tells Lightning's Trainer the ranks of the processes.

    Raises:
        UserError: the number of started processes is not the number that the config asks for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `srun` command is available")  # it need not be used
        return _detect_environment(config)


def _detect_environment(config: TrainerConfig) -> ClusterEnvironment:
    requested = f"trainer.devices={config.devices or 1} trainer.num_nodes={config.num_nodes or 1}"
    for name, environment_class in _LAUNCHERS.items():
        if not environment_class.detect() or (config.world_size == 1 and name != "torchrun"):
            continue  # each task may train a run of its own, but torchrun's processes share one
        try:
            environment = environment_class()
        except RuntimeError as error:  # srun with a number of tasks, but not per node
            raise UserError(f"{requested}: {error}") from error
        if environment.world_size() == config.world_size > 1:
            return environment
        check(  # a single task starts the other processes itself
            environment.world_size() == 1 and (config.num_nodes or 1) == 1,
            f"{name} started {environment.world_size()} processes, but {requested} is a run of {config.world_size}: "
            "set trainer.devices and trainer.num_nodes to what was started (trainer=ddp)",
        )
    return SingleProcessEnvironment() if config.world_size == 1 else LightningEnvironment()


def process_rank(config: TrainerConfig) -> int:
    """Return the rank of this process in the run; rank 0 writes, prints and evaluates."""
    environment = cluster_environment(config)
    if isinstance(environment, LightningEnvironment):  # it knows its global rank only after a Trainer was built
        return environment.node_rank() * (config.devices or 1) + environment.local_rank()
    return environment.global_rank()


@contextmanager
def set_rank_zero(config: TrainerConfig) -> Iterator[None]:
    """Make Lightning's loggers, warnings and callbacks use the rank in this run within the context."""
    lightning: Any = rank_zero_only
    before, lightning.rank = lightning.rank, process_rank(config)
    try:
        yield
    finally:
        if config.world_size == 1:
            lightning.rank = before
