"""Evaluate a model, print its metrics and write them to files: for `evaluate`, and for `train test=true`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from mnist_seq.atomic_io import make_dir
from mnist_seq.config import EvaluateConfig
from mnist_seq.evaluation.eval_result import RESULT_FILE, SCENES_FILE, save_eval_result
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.evaluation.suspects import SUSPECTS_FILE, find_suspects, save_suspects
from mnist_seq.evaluation.writers import describe_intervals
from mnist_seq.inference import pretrained
from mnist_seq.reporting import report, tables
from mnist_seq.run_dir import Run


def evaluate_and_report(config: EvaluateConfig, console: Console, data_label: str = "") -> None:
    """Evaluate a model, print its metrics, and write them to files.

    With the default protocol, the metrics of a run are added to its metrics.json too.

    Args:
        config: what to evaluate.
        console: where to print.
        data_label: a name for the data, where they are not the run's own.

    Raises:
        NotFoundError: there is no such model.
        UserError: the model cannot be evaluated on these scenes.
        CannotWriteError: the folder cannot be made.
    """
    evaluator, folder = load_evaluator(config), evaluation_dir(config, data_label)
    make_dir("output_dir", folder)
    result = evaluator.evaluate()
    summary = result.summary()
    if evaluator.notice:
        console.print(f"[bold red]{escape(evaluator.notice)}")
    title = escape(f"{config.run}, digits: {evaluator.datasets.source}")
    console.print(tables.metrics_table(config.split, summary, title))
    run = Run(str(config.run))
    if evaluator.is_default_protocol and run.finished:
        run.update_metrics(**{config.split: summary})
        console.print(f"added to {run.path / 'metrics.json'}", markup=False)
    save_eval_result(result, folder)
    console.print(f"metrics and per-scene predictions: {folder / RESULT_FILE}, {folder / SCENES_FILE}", markup=False)
    if labels := evaluator.scenes.labels:
        suspects, path = find_suspects(result), folder / SUSPECTS_FILE
        save_suspects(suspects, path)
        console.print(describe_intervals(labels[: evaluator.num_scenes], evaluator.scenes.writer_column), markup=False)
        found = f"possibly wrong labels, where the model is confident of another reading: {len(suspects)}"
        console.print(f"{found}, in {path}", markup=False)
    if config.report:
        path = folder / "report.html"
        report.write_report(evaluator, result, path)
        console.print(f"report: {path}", markup=False)


def evaluation_dir(config: EvaluateConfig, data_label: str = "") -> Path:
    """The folder of an evaluation: `output_dir`, or one of its own among the results of the model.

    Args:
        config: what is evaluated.
        data_label: a name for the data, where they are not the run's own.
    """
    if config.output_dir:
        return Path(config.output_dir)
    deviations = {
        data_label: config.data is not None,
        f"beams-{config.num_beams}": config.num_beams > 1,
        f"{config.scenes}-scenes": config.scenes is not None,
        **{f"{key}-{value:g}": True for key, value in config.corruptions.non_default.items()},
    }
    name = "_".join([config.split, *(label for label, deviates in deviations.items() if deviates)])
    return model_results_dir(str(config.run)) / name


def model_results_dir(model: str) -> Path:
    """The folder for evaluations of a model: in its run directory, or else under outputs/evaluations.

    A checkpoint of a run has a folder of its own there; a file elsewhere has one that its whole path names.
    """
    if model.startswith(pretrained.PREFIX):
        return Path("outputs", "evaluations", "pretrained", model.removeprefix(pretrained.PREFIX))
    path = Path(model)
    if path.is_dir():
        return path / "evaluations"
    folder = path.absolute().parent
    if folder.name == "checkpoints":
        return folder.parent / "evaluations" / path.stem
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return Path("outputs", "evaluations", f"{folder.name}-{digest}", path.stem)
