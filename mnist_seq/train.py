"""Train a reader: `python -m mnist_seq.train model=enc_dec data=grid`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.command_line import command_line
from mnist_seq.config import TrainConfig
from mnist_seq.config.law import require

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.run import Run


def main() -> None:
    command.run("train", _job, writes=True)


def _job(cfg: DictConfig, directory: Path) -> None:
    """A run; of a sweep that is started again, the rest of one, or nothing where it is finished."""
    from mnist_seq.learn import machine
    from mnist_seq.learn.fit import train
    from mnist_seq.run import Run
    from mnist_seq.sweeps.settings import require_same

    config, changed, begun = command.typed(cfg, TrainConfig), _overrides(), Run(directory)
    sweeping = command.sweeping()
    if sweeping and (begun.finished or begun.last.is_file()):
        require_same(begun, config, changed, "choose another hydra.sweep.dir, or another hydra.sweep.subdir")
    config.report = not sweeping if config.report == "auto" else config.report
    if sweeping and begun.finished:
        print(f"{directory} is finished: left as it is")
        return
    if sweeping:
        _refuse_to_share(config)
    if sweeping and begun.last.is_file():
        config, changed = replace(config, resume=str(directory)), []
    machine.keep_memory()
    with _own_directory(directory, config) as directory:
        show(train(config, directory, changed), briefly=sweeping)


@contextmanager
def _own_directory(directory: Path, config: TrainConfig) -> Iterator[Path]:
    """The run's directory, as Hydra is told too."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    from mnist_seq.learn.fit import own_directory

    hydra: Any = HydraConfig.get()
    unnamed = not command.sweeping() and command.is_default(hydra.run)
    with own_directory(config, directory, unnamed) as place:
        if place != directory:
            with read_write(hydra), open_dict(hydra):  # Lightning tells the other processes what stands here
                hydra.run.dir, hydra.runtime.output_dir = str(place), str(place)
        yield place


def _refuse_to_share(config: TrainConfig) -> None:
    """Lightning starts a run's other processes by the command line, which for Hydra's launcher is the whole sweep's."""
    from hydra.core.hydra_config import HydraConfig

    plain_launcher = HydraConfig.get().launcher["_target_"].endswith(".BasicLauncher")
    require(
        config.trainer.processes == 1 or not plain_launcher,
        f"trainer.devices={config.trainer.devices} in a sweep needs a process for each job: add hydra/launcher=devices",
    )


def show(run: Run, briefly: bool = False) -> None:
    """What came out, where it is, and what to do next; of a job of a sweep, what came out."""
    from rich.console import Console
    from rich.markup import escape

    from mnist_seq.figures import tables
    from mnist_seq.learn import ranks

    metrics, console = run.metrics, Console(highlight=False, soft_wrap=True)
    if ranks.rank(run.config.trainer):
        return
    if not briefly and "val" in metrics:
        title = escape(f"{run.path}, digits: {metrics['digits']}")
        console.print(tables.results({"val": metrics["val"]}, title))
    console.print(
        f"{metrics['parameters']:,} parameters, {metrics['steps']:,} steps, "
        f"{metrics['scenes_per_second']:,.0f} scenes/s, {metrics['seconds']:,.0f} s on {metrics['device']}"
    )
    if briefly:
        return
    console.print(f"weights, plots, checkpoints and metrics: {run.path}", markup=False)
    if run.report.is_file():
        console.print(f"to look at: {run.report}", markup=False)
    if "test" not in metrics:
        console.print(f"next: {command_line('evaluate', run=run.path, split='test')}", markup=False)


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
