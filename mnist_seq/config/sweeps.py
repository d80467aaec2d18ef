"""Many runs: where they run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.validation import check, check_choice


@dataclass
class DevicesLauncherConfig:
    """The slots of `hydra/launcher=devices`."""

    _target_: str = "hydra_plugins.devices_launcher.DevicesLauncher"
    n_jobs: int | None = None
    """Jobs at a time on the CPU, its cores shared evenly; null takes the GPUs, or without any a job for each core."""
    jobs_per_gpu: int = 1
    """Jobs at a time on each GPU."""
    gpus_per_job: int = 1
    """GPUs of each job."""
    threads: int | None = None
    """CPU threads of each job; null shares the cores evenly."""

    def __post_init__(self) -> None:
        for key in ("n_jobs", "jobs_per_gpu", "gpus_per_job", "threads"):
            value = getattr(self, key)
            check(value is None or value >= 1, f"hydra.launcher.{key}={value} must be at least 1")
        check(
            self.jobs_per_gpu == 1 or self.gpus_per_job == 1,
            "hydra.launcher.jobs_per_gpu and per_job exclude each other",
        )


PRUNERS = ("none", "median", "hyperband")
_RANGE_KEYS = {"low", "high", "log", "step"}


@dataclass
class SearchConfig:
    """Looking for what reads best: `python -m mnist_seq.search`. Workers that share a storage share a study."""

    study: str = "search"
    """Its name in the storage."""
    output_dir: str = "outputs/search"
    """The folder for the trials' runs, the pictures, and study.db where no other storage is named."""
    storage: str | None = None
    """A database that all workers reach, as SQLAlchemy names it; null takes SQLite in `to`."""
    n_trials: int = 40
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
    n_startup_trials: int = 5
    """Finished trials before any is pruned."""
    max_retries: int = 3
    """Times that a trial whose process or worker died is tried again."""
    heartbeat_timeout: int = 120
    """Seconds of silence after which a worker counts as dead."""
    n_jobs: int | None = None
    """Trials at a time on the CPU; null takes the GPUs, or without any a trial for each core."""
    jobs_per_gpu: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        check_choice("pruner", self.pruner, PRUNERS)
        for key in ("n_trials", "heartbeat_timeout"):
            check(getattr(self, key) >= 1, f"{key}={getattr(self, key)} must be at least 1")
        for key in ("n_startup_trials", "max_retries"):
            check(getattr(self, key) >= 0, f"{key}={getattr(self, key)} must not be negative")
        check(bool(self.space), "space is empty: name what is to be searched, as configs/search/grid_small.yaml does")
        for key, among in self.space.items():
            if isinstance(among, dict):
                _check_range(f"space.{key}={among}", among)
            else:
                check(
                    isinstance(among, list) and bool(among), f"space.{key}={among} must be a list of choices or a range"
                )
                check(
                    len({repr(choice) for choice in among}) == len(among), f"space.{key}={among} names a choice twice"
                )
        _ = self.launcher

    @property
    def launcher(self) -> DevicesLauncherConfig:
        """Where the trials run."""
        return DevicesLauncherConfig(n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu, threads=self.threads)


def _check_range(label: str, distribution: dict[str, Any]) -> None:
    """Raises UserError for what Optuna could not draw from, trial by trial."""
    check({"low", "high"} <= set(distribution) <= _RANGE_KEYS, f"{label} must have low and high, and maybe log or step")
    low, high, log, step = (
        distribution["low"],
        distribution["high"],
        distribution.get("log", False),
        distribution.get("step"),
    )
    numbers = [it for it in (low, high, step) if it is not None]
    check(
        all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in numbers),
        f"{label} must have numbers for low, high and step",
    )
    check(low < high, f"{label} must have low below high")
    check(isinstance(log, bool), f"{label} must have true or false for log")
    check(not log or low > 0, f"{label} must have low above 0 where log is true")
    check(not log or step is None, f"{label} has log: true and a step: choose one")
    check(step is None or step > 0, f"{label} must have a step above 0")
    whole = isinstance(low, int) and isinstance(high, int)
    check(not whole or step is None or isinstance(step, int), f"{label} is of whole numbers: so must its step be")
