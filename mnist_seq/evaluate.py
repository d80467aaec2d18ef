"""Judge a run: `python -m mnist_seq.evaluate run=outputs/<date>/<time> split=test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.config import EvaluateConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    command.run("evaluate", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.figures import report, tables
    from mnist_seq.learn import machine
    from mnist_seq.learn.exam import exam
    from mnist_seq.run import Run, latest

    console = Console(highlight=False, soft_wrap=True)
    config = command.typed(cfg, EvaluateConfig)
    config.run = config.run or str(latest())
    machine.keep_memory()
    asked, folder = exam(config), destination(config, _asked_data())
    command.require_folder("to", folder)
    judgement = asked.judge()
    summary = judgement.summary()
    if asked.notice:
        console.print(f"[bold red]{asked.notice}")
    console.print(tables.results({config.split: summary}, f"{config.run}, digits: {asked.sets.source}"))
    run = Run(config.run)
    if asked.usual and run.finished:
        run.record(**{config.split: summary})
        console.print(f"added to {run.path / 'metrics.json'}", markup=False)
    report.write_judgement(judgement, folder)
    console.print(f"all figures and every scene: {folder / 'judgement.json'}, {folder / 'scenes.csv'}", markup=False)
    if config.report:
        report.write(asked.subject, judgement, folder / "report.html")
        console.print(f"to look at: {folder / 'report.html'}", markup=False)


def destination(config: EvaluateConfig, data: str = "") -> Path:
    """The folder of an evaluation: `to`, or one in the run's directory, or, of weights alone, one under outputs/.

    Args:
        data: what the scenes are called, where they are not the run's own.
    """
    if config.to:
        return Path(config.to)
    run = Path(str(config.run))
    told = {
        data: config.data is not None,
        f"beams-{config.beams}": config.beams > 1,
        "unconstrained": not config.constrain,
        f"{config.scenes}-scenes": config.scenes is not None,
        **{f"{key}-{value:g}": True for key, value in config.disturb.chosen.items()},
    }
    name = "_".join([config.split, *(it for it, differs in told.items() if differs)])
    whose = Path(run.absolute().parent.name) / run.stem
    return run / "judged" / name if run.is_dir() else Path("outputs", "judged") / whose / name


def _asked_data() -> str:
    """The data preset that was asked for, and a hash of what was changed of it."""
    from hydra.core.hydra_config import HydraConfig

    config = HydraConfig.get()
    changes = [it for it in config.overrides.task if it.lstrip("+~").startswith(("data.", "data/"))]
    return f"{config.runtime.choices.get('data')}" + (f"-{command.digest(changes)}" if changes else "")


if __name__ == "__main__":
    main()
