"""Many runs: where they run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.law import require, require_known


@dataclass
class DevicesConfig:
    """The slots of `hydra/launcher=devices`."""

    _target_: str = "hydra_plugins.devices_launcher.DevicesLauncher"
    slots: int | None = None
    """Jobs at a time on the CPU, its cores shared evenly; null takes the GPUs, or without any a job for each core."""
    per_device: int = 1
    """Jobs at a time on each GPU."""
    per_job: int = 1
    """GPUs of each job."""
    threads: int | None = None
    """CPU threads of each job; null shares the cores evenly."""

    def __post_init__(self) -> None:
        for key in ("slots", "per_device", "per_job", "threads"):
            value = getattr(self, key)
            require(value is None or value >= 1, f"hydra.launcher.{key}={value} must be at least 1")
        require(self.per_device == 1 or self.per_job == 1, "hydra.launcher.per_device and per_job exclude each other")


PRUNERS = ("none", "median", "hyperband")
_RANGE = {"low", "high", "log", "step"}


@dataclass
class SearchConfig:
    """Looking for what reads best: `python -m mnist_seq.search`. Workers that share a storage share a study."""

    study: str = "search"
    """Its name in the storage."""
    to: str = "outputs/search"
    """The folder for the trials' runs, the pictures, and study.db where no other storage is named."""
    storage: str | None = None
    """A database that all workers reach, as SQLAlchemy names it; null takes SQLite in `to`."""
    trials: int = 40
    """All workers' finished trials, together."""
    overrides: list[str] = field(default_factory=list)
    """Of every trial's training run."""
    space: dict[str, Any] = field(default_factory=dict)
    """Override -> choices of any type, [pre, post], or a range, {low: 1e-4, high: 1e-2, log: true}; of whole numbers
    where its ends are, with `step` if need be."""
    seed: int | None = None
    """Of the sampler; one worker with one slot then repeats itself."""
    pruner: str = "median"
    """Gives up on trials that validate worse than others: `median`, `hyperband` (Li et al. 2018) or `none`."""
    spared: int = 5
    """Finished trials before any is pruned."""
    retries: int = 3
    """Times that a trial whose process or worker died is tried again."""
    grace: int = 120
    """Seconds of silence after which a worker counts as dead."""
    slots: int | None = None
    """Trials at a time on the CPU; null takes the GPUs, or without any a trial for each core."""
    per_device: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        require_known("pruner", self.pruner, PRUNERS)
        for key in ("trials", "grace"):
            require(getattr(self, key) >= 1, f"{key}={getattr(self, key)} must be at least 1")
        for key in ("spared", "retries"):
            require(getattr(self, key) >= 0, f"{key}={getattr(self, key)} must not be negative")
        require(bool(self.space), "space is empty: name what is to be searched, as configs/search/grid_small.yaml does")
        for key, among in self.space.items():
            if isinstance(among, dict):
                _require_range(f"space.{key}={among}", among)
            else:
                require(
                    isinstance(among, list) and bool(among), f"space.{key}={among} must be a list of choices or a range"
                )
                require(
                    len({repr(choice) for choice in among}) == len(among), f"space.{key}={among} names a choice twice"
                )
        _ = self.devices

    @property
    def devices(self) -> DevicesConfig:
        """Where the trials run."""
        return DevicesConfig(slots=self.slots, per_device=self.per_device, threads=self.threads)


def _require_range(told: str, among: dict[str, Any]) -> None:
    """Raises UserError for what Optuna could not draw from, trial by trial."""
    require({"low", "high"} <= set(among) <= _RANGE, f"{told} must have low and high, and maybe log or step")
    low, high, log, step = among["low"], among["high"], among.get("log", False), among.get("step")
    numbers = [it for it in (low, high, step) if it is not None]
    require(
        all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in numbers),
        f"{told} must have numbers for low, high and step",
    )
    require(low < high, f"{told} must have low below high")
    require(isinstance(log, bool), f"{told} must have true or false for log")
    require(not log or low > 0, f"{told} must have low above 0 where log is true")
    require(not log or step is None, f"{told} has log: true and a step: choose one")
    require(step is None or step > 0, f"{told} must have a step above 0")
    whole = isinstance(low, int) and isinstance(high, int)
    require(not whole or step is None or isinstance(step, int), f"{told} is of whole numbers: so must its step be")
