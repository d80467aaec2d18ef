"""Train a model: `python -m mnist_seq.train model=enc_dec data=grid`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mnist_seq import cli
from mnist_seq.compose_config import is_default_dir
from mnist_seq.config import TrainConfig
from mnist_seq.config.validation import check
from mnist_seq.find_runs import resolve_resume


def main() -> None:
    cli.run_command("train", _job, has_run_dir=True)


def _job(config: TrainConfig, run_dir: Path) -> None:
    from hydra.core.hydra_config import HydraConfig

    hydra: Any = HydraConfig.get()
    overrides, in_sweep = list(hydra.overrides.task), cli.is_multirun()
    if config.report == "auto":
        config.report = not in_sweep
    if in_sweep:
        _run_sweep_job(config, run_dir, overrides, hydra)
    else:
        default_dir = is_default_dir(hydra.run)
        if config.resume and not default_dir:  # Lightning passes the run's own to its other processes
            same = run_dir.resolve() == resolve_resume(config.resume).resolve()
            check(same, f"hydra.run.dir={run_dir} has no effect on a resumed run: leave it out")
        _train_and_print(config, run_dir, overrides, hydra, default_dir, brief=False)


def _run_sweep_job(config: TrainConfig, run_dir: Path, overrides: list[str], hydra: Any) -> None:
    """Train one job of a sweep; when the sweep is started again, resume the job, or skip it if it is finished."""
    from mnist_seq.run_dir import Run
    from mnist_seq.sweeps.config_diff import require_same_config

    run = Run(run_dir)
    if run.finished or run.last_checkpoint.is_file():
        require_same_config(run, config, overrides, "choose another hydra.sweep.dir, or another hydra.sweep.subdir")
    if run.finished and (not config.test or "test" in run.metrics):
        print(f"{run_dir} is finished: skipped")
        return
    check(  # Lightning would start each process with the sweep's command
        config.trainer.world_size == 1 or not hydra.launcher["_target_"].endswith(".BasicLauncher"),
        f"trainer.devices={config.trainer.devices} in a sweep needs a process for each job: add hydra/launcher=devices",
    )
    if run.last_checkpoint.is_file():
        config, overrides = replace(config, resume=str(run_dir)), [f"test={str(config.test).lower()}"]
    _train_and_print(config, run_dir, overrides, hydra, default_dir=False, brief=True)


def _train_and_print(
    config: TrainConfig, run_dir: Path, overrides: list[str], hydra: Any, default_dir: bool, brief: bool
) -> None:
    from omegaconf import open_dict, read_write

    from mnist_seq.training.fit import train_and_summarize, unique_run_dir

    with unique_run_dir(config, run_dir, default_dir) as unique_dir:
        if str(unique_dir) != hydra.runtime.output_dir:  # Lightning passes it on to the run's other processes
            with read_write(hydra), open_dict(hydra):
                hydra.run.dir = hydra.runtime.output_dir = str(unique_dir)
        train_and_summarize(config, unique_dir, overrides, brief)


if __name__ == "__main__":
    main()
