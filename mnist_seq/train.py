"""Train a reader: `python -m mnist_seq.train model=enc_dec data=grid`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
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

    config, changed, begun = command.typed(cfg, TrainConfig), _overrides(), Run(directory)
    sweeping = command.sweeping()
    config.report = not sweeping if config.report == "auto" else config.report
    if sweeping and begun.finished:
        print(f"{directory} is finished: left as it is")
        return
    if sweeping:
        _refuse_to_share(config)
    if sweeping and begun.last.is_file():
        config, changed = replace(config, resume=str(directory)), []
    machine.keep_memory()
    run = train(config, directory, changed)
    show(run, briefly=sweeping)


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

    from mnist_seq.figures import tables
    from mnist_seq.learn import machine

    metrics, console = run.metrics, Console(highlight=False, soft_wrap=True)
    if machine.rank():
        return
    if not briefly and "val" in metrics:
        console.print(tables.results({"val": metrics["val"]}, f"{run.path}, digits: {metrics['digits']}"))
    console.print(
        f"{metrics['parameters']:,} parameters, {metrics['steps']:,} steps, "
        f"{metrics['scenes_per_second']:,.0f} scenes/s, {metrics['seconds']:,.0f} s on {metrics['device']}"
    )
    if briefly:
        return
    console.print(f"weights, plots, checkpoints and metrics: {run.path}")
    if run.report.is_file():
        console.print(f"to look at: {run.report}")
    console.print(f"next: python -m mnist_seq.evaluate run={run.path} split=test")


def _overrides() -> list[str]:
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task)


if __name__ == "__main__":
    main()
