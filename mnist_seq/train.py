"""Train a reader: `python -m mnist_seq.train model=enc_dec data=grid`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.compose_config import is_default_dir, to_dataclass
from mnist_seq.config import TrainConfig
from mnist_seq.config.override_syntax import format_command
from mnist_seq.config.validation import check

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.run_dir import Run


def main() -> None:
    cli.run_command("train", _job, has_run_dir=True)


def _job(cfg: DictConfig, directory: Path) -> None:
    """A run; of a sweep that is started again, the rest of one, or nothing where it is finished."""
    from mnist_seq.run_dir import Run
    from mnist_seq.sweeps.config_diff import require_same_config
    from mnist_seq.training.fit import train

    config, changed, begun = to_dataclass(cfg, TrainConfig), _overrides(), Run(directory)
    sweeping = cli.is_multirun()
    if sweeping and (begun.finished or begun.last_checkpoint.is_file()):
        require_same_config(begun, config, changed, "choose another hydra.sweep.dir, or another hydra.sweep.subdir")
    config.report = not sweeping if config.report == "auto" else config.report
    if sweeping and begun.finished:
        print(f"{directory} is finished: left as it is")
        return
    if sweeping:
        _check_devices_in_sweep(config)
    if sweeping and begun.last_checkpoint.is_file():
        config, changed = replace(config, resume=str(directory)), []
    with _unique_run_dir(directory, config) as directory:
        print_summary(train(config, directory, changed), brief=sweeping)


@contextmanager
def _unique_run_dir(directory: Path, config: TrainConfig) -> Iterator[Path]:
    """The run's directory, as Hydra is told too."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    from mnist_seq.training.fit import unique_run_dir

    hydra: Any = HydraConfig.get()
    unnamed = not cli.is_multirun() and is_default_dir(hydra.run)
    with unique_run_dir(config, directory, unnamed) as place:
        if place != directory:
            with read_write(hydra), open_dict(hydra):  # Lightning tells the other processes what stands here
                hydra.run.dir, hydra.runtime.output_dir = str(place), str(place)
        yield place


def _check_devices_in_sweep(config: TrainConfig) -> None:
    """Lightning starts a run's other processes by the command line, which for Hydra's launcher is the whole sweep's."""
    from hydra.core.hydra_config import HydraConfig

    plain_launcher = HydraConfig.get().launcher["_target_"].endswith(".BasicLauncher")
    check(
        config.trainer.world_size == 1 or not plain_launcher,
        f"trainer.devices={config.trainer.devices} in a sweep needs a process for each job: add hydra/launcher=devices",
    )


def print_summary(run: Run, brief: bool = False) -> None:
    """What came out, where it is, and what to do next; of a job of a sweep, what came out."""
    from rich.console import Console
    from rich.markup import escape

    from mnist_seq.reporting import tables
    from mnist_seq.training import distributed

    metrics, console = run.metrics, Console(highlight=False, soft_wrap=True)
    if distributed.process_rank(run.config.trainer):
        return
    if not brief and "val" in metrics:
        title = escape(f"{run.path}, digits: {metrics['digits']}")
        console.print(tables.metrics_table({"val": metrics["val"]}, title))
    console.print(
        f"{metrics['parameters']:,} parameters, {metrics['steps']:,} steps, "
        f"{metrics['scenes_per_second']:,.0f} scenes/s, {metrics['seconds']:,.0f} s on {metrics['device']}"
    )
    if brief:
        return
    console.print(f"weights, plots, checkpoints and metrics: {run.path}", markup=False)
    if run.report.is_file():
        console.print(f"to look at: {run.report}", markup=False)
    if "test" not in metrics:
        console.print(f"next: {format_command('evaluate', run=run.path, split='test')}", markup=False)


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
