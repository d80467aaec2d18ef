"""Evaluate a model, and leave what was found on disk: what `evaluate` does, and `train test=true` at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from mnist_seq.atomic_io import make_dir
from mnist_seq.config import EvaluateConfig
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import pretrained
from mnist_seq.reporting import report, tables
from mnist_seq.run_dir import Run


def evaluate_and_report(config: EvaluateConfig, console: Console, data_label: str = "") -> None:
    """Show how well a model reads; add it to its run's metrics.json where runs are evaluated so.

    Args:
        data: what the scenes are called, where they are not the run's own.

    Raises:
        NotFoundError, UserError: nothing to load, or scenes that the model cannot read.
        CannotWriteError: the folder cannot be made.
    """
    asked, folder = load_evaluator(config), evaluation_dir(config, data_label)
    make_dir("output_dir", folder)
    judgement = asked.evaluate()
    summary = judgement.summary()
    if asked.notice:
        console.print(f"[bold red]{escape(asked.notice)}")
    title = escape(f"{config.run}, digits: {asked.datasets.source}")
    console.print(tables.metrics_table({config.split: summary}, title))
    run = Run(str(config.run))
    if asked.is_default_protocol and run.finished:
        run.update_metrics(**{config.split: summary})
        console.print(f"added to {run.path / 'metrics.json'}", markup=False)
    report.save_eval_result(judgement, folder)
    console.print(f"all figures and every scene: {folder / 'judgement.json'}, {folder / 'scenes.csv'}", markup=False)
    if config.report:
        report.write_report(asked.subject, judgement, folder / "report.html")
        console.print(f"to look at: {folder / 'report.html'}", markup=False)


def evaluation_dir(config: EvaluateConfig, data_label: str = "") -> Path:
    """The folder of an evaluation: `to`, or one in the run's directory, or, of other weights, one under outputs/.

    Args:
        data: what the scenes are called, where they are not the run's own.
    """
    if config.output_dir:
        return Path(config.output_dir)
    told = {
        data_label: config.data is not None,
        f"beams-{config.num_beams}": config.num_beams > 1,
        f"{config.scenes}-scenes": config.scenes is not None,
        **{f"{key}-{value:g}": True for key, value in config.corruption.non_default.items()},
    }
    name = "_".join([config.split, *(it for it, differs in told.items() if differs)])
    return model_results_dir(str(config.run)) / name


def model_results_dir(model: str) -> Path:
    """Where what is found of a model is kept: in its run's directory, or else under outputs/."""
    if model.startswith(pretrained.PREFIX):
        return Path("outputs", "judged", "pretrained", model.removeprefix(pretrained.PREFIX))
    path = Path(model)
    return path / "judged" if path.is_dir() else Path("outputs", "judged", path.absolute().parent.name, path.stem)
