"""Figures of the pretrained models' results: learning curves, hard digits, and misread scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mnist_seq.data import sources
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluator import Evaluator
from mnist_seq.evaluation.hard_examples import HardExample
from mnist_seq.reporting import curves, plots

NUM_DIGITS_SHOWN, NUM_SCENES_SHOWN = 36, 16
"""Hard digits, and misread scenes, that are drawn per model."""


def plot_results(results: dict[str, Any], folder: Path) -> None:
    """Draw the learning curves, as curves.png, and the digits that each model misreads most, as <model>.png.

    Args:
        results: the content of results.json.
        folder: where the figures go.
    """
    val_curves = {name: it["card"]["val_curve"] for name, it in results["protocols"].items() if it["card"]["val_curve"]}
    if val_curves:
        plots.save_figure(curves.learning_curves(val_curves), folder / "curves.png")
    for name, rows in results["hard_examples"].items():
        examples = [HardExample(**row) for row in rows[:NUM_DIGITS_SHOWN]]
        if examples:
            pool = sources.load(results["protocols"][name]["digits"]).pools["test"]
            index = {source_id: i for i, source_id in enumerate(pool.source_indices.tolist())}
            images = pool.images[[index[it.source_id] for it in examples]]
            plots.save_figure(plots.hard_examples(examples, images), folder / f"{name}.png")


def plot_error_scenes(evaluator: Evaluator, result: EvalResult, path: Path) -> None:
    """Draw the scenes with a wrong prediction, most confident first; no file if there are none."""
    ids = result.error_ids[:NUM_SCENES_SHOWN]
    if len(ids):
        batch = evaluator.scenes.render(ids)
        output = result.predictions.output.select(ids)
        plots.save_figure(plots.prediction_grid(batch, output, ordered=evaluator.scenes.spec.ordered), path)
