"""Evaluate a model, and leave what was found on disk: what `evaluate` does, and `train test=true` at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from mnist_seq.atomic import require_folder
from mnist_seq.config import EvaluateConfig
from mnist_seq.figures import report, tables
from mnist_seq.learn.exam import exam
from mnist_seq.run import Run
from mnist_seq.use import pretrained


def evaluate(config: EvaluateConfig, console: Console, data: str = "") -> None:
    """Show how well a model reads; add it to its run's metrics.json where runs are evaluated so.

    Args:
        data: what the scenes are called, where they are not the run's own.

    Raises:
        NotFoundError, UserError: nothing to load, or scenes that the model cannot read.
        CannotWriteError: the folder cannot be made.
    """
    asked, folder = exam(config), destination(config, data)
    require_folder("to", folder)
    judgement = asked.judge()
    summary = judgement.summary()
    if asked.notice:
        console.print(f"[bold red]{escape(asked.notice)}")
    title = escape(f"{config.run}, digits: {asked.sets.source}")
    console.print(tables.results({config.split: summary}, title))
    run = Run(str(config.run))
    if asked.usual and run.finished:
        run.record(**{config.split: summary})
        console.print(f"added to {run.path / 'metrics.json'}", markup=False)
    report.write_judgement(judgement, folder)
    console.print(f"all figures and every scene: {folder / 'judgement.json'}, {folder / 'scenes.csv'}", markup=False)
    if config.report:
        report.write(asked.subject, judgement, folder / "report.html")
        console.print(f"to look at: {folder / 'report.html'}", markup=False)


def destination(config: EvaluateConfig, data: str = "") -> Path:
    """The folder of an evaluation: `to`, or one in the run's directory, or, of other weights, one under outputs/.

    Args:
        data: what the scenes are called, where they are not the run's own.
    """
    if config.to:
        return Path(config.to)
    told = {
        data: config.data is not None,
        f"beams-{config.beams}": config.beams > 1,
        "unconstrained": not config.constrain,
        f"{config.scenes}-scenes": config.scenes is not None,
        **{f"{key}-{value:g}": True for key, value in config.disturb.chosen.items()},
    }
    name = "_".join([config.split, *(it for it, differs in told.items() if differs)])
    return home(str(config.run)) / name


def home(model: str) -> Path:
    """Where what is found of a model is kept: in its run's directory, or else under outputs/."""
    if model.startswith(pretrained.PREFIX):
        return Path("outputs", "judged", "pretrained", model.removeprefix(pretrained.PREFIX))
    path = Path(model)
    return path / "judged" if path.is_dir() else Path("outputs", "judged", path.absolute().parent.name, path.stem)
