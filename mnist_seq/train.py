"""Train a model: `python -m mnist_seq.train model=enc_dec data=grid`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.compose_config import is_default_dir, to_dataclass
from mnist_seq.config import TrainConfig
from mnist_seq.config.validation import check

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    cli.run_command("train", _job, has_run_dir=True)


def _job(cfg: DictConfig, directory: Path) -> None:
    config, overrides = to_dataclass(cfg, TrainConfig), _overrides()
    if cli.is_multirun():
        _run_sweep_job(config, directory, overrides)
    else:
        config.report = True if config.report == "auto" else config.report
        _train_and_print(config, directory, overrides, default_dir=_has_default_dir(), brief=False)


def _run_sweep_job(config: TrainConfig, directory: Path, overrides: list[str]) -> None:
    """Train one job of a sweep; when the sweep is started again, resume the job, or skip it if it is finished."""
    from mnist_seq.run_dir import Run
    from mnist_seq.sweeps.config_diff import require_same_config

    run = Run(directory)
    if run.finished or run.last_checkpoint.is_file():
        require_same_config(run, config, overrides, "choose another hydra.sweep.dir, or another hydra.sweep.subdir")
    if run.finished:
        print(f"{directory} is finished: skipped")
        return
    config.report = False if config.report == "auto" else config.report
    _check_devices_in_sweep(config)
    if run.last_checkpoint.is_file():
        config, overrides = replace(config, resume=str(directory)), []
    _train_and_print(config, directory, overrides, default_dir=False, brief=True)


def _train_and_print(
    config: TrainConfig, directory: Path, overrides: list[str], default_dir: bool, brief: bool
) -> None:
    from mnist_seq.training.fit import train_and_summarize, unique_run_dir

    with unique_run_dir(config, directory, default_dir) as run_dir:
        _set_hydra_run_dir(run_dir)
        train_and_summarize(config, run_dir, overrides, brief)


def _check_devices_in_sweep(config: TrainConfig) -> None:
    """Refuse several processes per run with the basic launcher: Lightning would start each with the sweep's command."""
    from hydra.core.hydra_config import HydraConfig

    basic_launcher = HydraConfig.get().launcher["_target_"].endswith(".BasicLauncher")
    check(
        config.trainer.world_size == 1 or not basic_launcher,
        f"trainer.devices={config.trainer.devices} in a sweep needs a process for each job: add hydra/launcher=devices",
    )


def _has_default_dir() -> bool:
    from hydra.core.hydra_config import HydraConfig

    return is_default_dir(HydraConfig.get().run)  # type: ignore[arg-type]


def _set_hydra_run_dir(run_dir: Path) -> None:
    """Tell Hydra the directory of the run, which Lightning passes on to the run's other processes."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    hydra: Any = HydraConfig.get()
    if str(run_dir) != hydra.runtime.output_dir:
        with read_write(hydra), open_dict(hydra):
            hydra.run.dir, hydra.runtime.output_dir = str(run_dir), str(run_dir)


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
