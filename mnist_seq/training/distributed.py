"""Which of a run's processes this one is: decided by the run's own number of processes, not by the environment alone.

Lightning reads `SLURM_PROCID`, `RANK` and the like when it is imported, and a process with a rank other than 0 writes
nothing. They are set for every task of `srun -n 4`, though each may train a run of its own.
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
"""What may have started the processes of a run, in the order in which Lightning looks for them."""


class SingleProcessEnvironment(LightningEnvironment):
    """The only process of a run, whatever the environment says of ranks."""

    @property
    def creates_processes_externally(self) -> bool:
        return True  # none is to be started

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0


def cluster_environment(config: TrainerConfig) -> ClusterEnvironment:
    """Where the processes of a run learn their ranks, for Lightning's Trainer.

    Raises:
        UserError: another number of processes was started than the run is to have.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The `srun` command is available")  # Slurm is there, and need not be used
        return _detect_environment(config)


def _detect_environment(config: TrainerConfig) -> ClusterEnvironment:
    asked = f"trainer.devices={config.devices or 1} trainer.num_nodes={config.num_nodes or 1}"
    for name, kind in _LAUNCHERS.items():
        if not kind.detect() or (config.world_size == 1 and name != "torchrun"):
            continue  # each task may train a run of its own, but torchrun's work together
        try:
            found = kind()
        except RuntimeError as problem:  # srun with a number of tasks, but none for each node
            raise UserError(f"{asked}: {problem}") from problem
        if found.world_size() == config.world_size > 1:
            return found
        check(  # a task alone starts the other processes itself
            found.world_size() == 1 and (config.num_nodes or 1) == 1,
            f"{name} started {found.world_size()} processes, but {asked} is a run of {config.world_size}: "
            "set trainer.devices and trainer.num_nodes to what was started (trainer=ddp)",
        )
    return SingleProcessEnvironment() if config.world_size == 1 else LightningEnvironment()


def process_rank(config: TrainerConfig) -> int:
    """Of this process among those of the run; 0 writes, prints and evaluates."""
    found = cluster_environment(config)
    if isinstance(found, LightningEnvironment):  # knows its global rank only when a Trainer was built
        return found.node_rank() * (config.devices or 1) + found.local_rank()
    return found.global_rank()


@contextmanager
def set_rank_zero(config: TrainerConfig) -> Iterator[None]:
    """Lightning's loggers, warnings and callbacks go by the rank in this run, within."""
    lightning: Any = rank_zero_only
    before, lightning.rank = lightning.rank, process_rank(config)
    try:
        yield
    finally:
        if config.world_size == 1:
            lightning.rank = before
