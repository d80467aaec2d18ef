"""`hydra/launcher=devices`: run the jobs of a sweep in parallel. Hydra finds launchers in the package hydra_plugins."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from mnist_seq import cli
from mnist_seq.compose_config import setup_hydra
from mnist_seq.config import DevicesLauncherConfig, hydra_compat
from mnist_seq.config.override_syntax import shell_override
from mnist_seq.sweeps import workers
from mnist_seq.sweeps.workers import Job


class DevicesLauncher(Launcher):
    """Runs each job in a process of its own, on a GPU or a share of the CPU cores.

    The results are those of Hydra's basic launcher, which runs the jobs one after the other.

    Args:
        options: the fields of DevicesLauncherConfig.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        with cli.report_errors():
            self.launcher_config = DevicesLauncherConfig(**self.options)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from mnist_seq.sweeps import summary
        from mnist_seq.sweeps.progress import StopOnFailure, report_progress

        with cli.report_errors():
            slots = workers.allocate_slots(self.launcher_config)
        workers.start_fork_server(slots)
        shared = set.intersection(*map(set, job_overrides)) if len(job_overrides) > 1 else set()
        jobs = [
            self._make_job(list(overrides), number, " ".join(it for it in overrides if it not in shared))
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        ]
        stop_on_failure = OmegaConf.select(self.config, "hydra.callbacks.table.on_failure") == "stop"
        previous_handler = signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
        try:
            with report_progress(len(jobs), stop_on_failure) as reporter:
                workers.run_jobs(jobs, slots, reporter)
        except StopOnFailure:
            summary.stop_sweep(Path(self.config.hydra.sweep.dir))
        except KeyboardInterrupt:
            override = shell_override("hydra.sweep.dir", self.config.hydra.sweep.dir)
            message = f"interrupted; rerun the same command with {override} to resume"
            cli.exit_with_message(message, 128 + signal.SIGINT)
        finally:
            signal.signal(signal.SIGTERM, previous_handler)
        # All count as completed: a failure is recorded in the job's directory, and Hydra would end the sweep with it.
        return [JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]

    def _make_job(self, overrides: list[str], number: int, name: str) -> Job:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = str(number), number
        arguments = (self.hydra_context, self.task_function, config)
        return Job(name, Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir, _run_job, arguments)


def _run_job(hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
    """Run a job in its own process as Hydra's basic launcher runs it."""
    setup_hydra()
    hydra_compat.setup_job_process()
    JobRuntime.instance().set("name", config.hydra.job.name)
    # A run on several devices starts its other ranks with sys.argv, which must be the command line of this job alone.
    config.hydra.run.dir = str(Path(config.hydra.sweep.dir) / config.hydra.sweep.subdir)
    with cli.process_setup([sys.argv[0], *config.hydra.overrides.task]):
        result = run_job(task_function, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context=hydra_context)
        _ = result.return_value  # raises what ended the job
