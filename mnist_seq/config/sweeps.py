"""Sweeps and searches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from mnist_seq.config.field_types import NonNegativeInt, PositiveInt, one_of
from mnist_seq.config.validation import Validated, check


@dataclass
class DevicesLauncherConfig(Validated):
    """Run the jobs of a sweep in parallel: `hydra/launcher=devices`."""

    key_prefix = "hydra.launcher."

    _target_: str = "hydra_plugins.devices_launcher.DevicesLauncher"
    """The launcher's class."""
    n_jobs: PositiveInt | None = None
    """Parallel jobs on the CPU, which share its cores evenly; null uses the GPUs or, without GPUs, one job per core."""
    jobs_per_gpu: PositiveInt = 1
    """Parallel jobs on each GPU."""
    gpus_per_job: PositiveInt = 1
    """GPUs per job; more than 1 excludes jobs_per_gpu above 1."""
    threads: PositiveInt | None = None
    """CPU threads per job; null shares the cores evenly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.jobs_per_gpu == 1 or self.gpus_per_job == 1,
            "hydra.launcher.jobs_per_gpu and hydra.launcher.gpus_per_job exclude each other: set one of them to 1",
        )


PRUNERS = ("none", "median", "hyperband")
_RANGE_KEYS = {"low", "high", "log", "step"}


@dataclass
class SearchConfig(Validated):
    """Search hyperparameters with Optuna: `python -m mnist_seq.search`. Workers with the same storage share a study."""

    study: str = "search"
    """Name of the study."""
    output_dir: str = "outputs/search"
    """Folder for the runs of the trials, the plots, and study.db unless storage names another database."""
    storage: str | None = None
    """SQLAlchemy URL of a database that all workers reach; null means SQLite in output_dir."""
    n_trials: PositiveInt = 40
    """Finished trials of all workers together."""
    overrides: list[str] = field(default_factory=list)
    """Overrides of every trial's training run."""
    space: dict[str, Any] = field(default_factory=dict)
    """Training key -> choices, [pre, post], or a range, {low: 1e-4, high: 1e-2, log: true}; a range between integers
    draws integers, with an optional `step`."""
    seed: int | None = None
    """Seed of the sampler; makes a search by one worker with one job at a time reproducible, if it is not interrupted.
    Leave it out where several workers start together: they would draw the same trials."""
    pruner: Annotated[str, one_of(PRUNERS)] = "median"
    """Stops trials that validate worse than others: `median`, `hyperband` (Li et al. 2018) or `none`."""
    n_startup_trials: NonNegativeInt = 5
    """Finished trials before `pruner=median` prunes any, at least 0."""
    max_retries: NonNegativeInt = 3
    """Retries of a trial whose process or worker died, at least 0."""
    heartbeat_timeout: PositiveInt = 120
    """Seconds without a heartbeat after which a worker counts as dead."""
    n_jobs: PositiveInt | None = None
    """Parallel trials on the CPU; null uses the GPUs or, without GPUs, one trial per core."""
    jobs_per_gpu: PositiveInt = 1
    """Parallel trials on each GPU."""
    threads: PositiveInt | None = None
    """CPU threads per trial; null shares the cores evenly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.space), "space is empty: name the keys to search, as configs/search/grid_small.yaml does")
        for key, candidates in self.space.items():
            if isinstance(candidates, dict):
                _check_range(f"space.{key}={candidates}", candidates)
            else:
                check(
                    isinstance(candidates, list) and bool(candidates),
                    f"space.{key}={candidates} must be a list of choices or a range",
                )
                check(
                    len({repr(choice) for choice in candidates}) == len(candidates),
                    f"space.{key}={candidates} lists a choice twice",
                )

    @property
    def launcher(self) -> DevicesLauncherConfig:
        """The launcher of the trials."""
        return DevicesLauncherConfig(n_jobs=self.n_jobs, jobs_per_gpu=self.jobs_per_gpu, threads=self.threads)


def _check_range(label: str, distribution: dict[str, Any]) -> None:
    """Refuse a range that Optuna cannot sample."""
    check({"low", "high"} <= set(distribution) <= _RANGE_KEYS, f"{label} must have low and high, and maybe log or step")
    low, high = distribution["low"], distribution["high"]
    log, step = distribution.get("log", False), distribution.get("step")
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
    check(not whole or step is None or isinstance(step, int), f"{label} is an integer range: use an integer step")
