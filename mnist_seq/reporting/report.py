"""The report of a model: one HTML file without scripts or network access.

Shapes   H W canvas   T decoding steps
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluator import Evaluator
from mnist_seq.nn.attention_maps import attention_on_image
from mnist_seq.reporting import confusion, curves, gallery, plots, templates
from mnist_seq.reporting.data_uri import png_data_uri
from mnist_seq.reporting.overlay import overlay_attention
from mnist_seq.reporting.tables import METRIC_LABELS
from mnist_seq.run_dir import Run
from mnist_seq.vocabulary import NUM_DIGITS, decode

_NUM_ERRORS, _NUM_ATTENTION_SCENES, _NUM_TRAIN_SCENES = 28, 3, 14
"""Scenes that are shown."""
_MAX_STEPS = 12
"""Decoding steps whose attention is shown."""

_SECTIONS: dict[str, tuple[str, str | None]] = {
    "metrics": ("metrics", None),
    "slices": ("accuracy by slice", "slices"),
    "confusion": ("confusion matrix", None),
    "errors": ("most confident errors", None),
    "calibration": ("calibration", None),
    "attention": ("attention maps", "attention"),
    "curves": ("training curves", "curves"),
    "scenes": ("training scenes", "train_scenes"),
    "reproducibility": ("reproducibility", None),
}
"""Id -> title, and the template variable without which the section is left out."""


def write_report(evaluator: Evaluator, result: EvalResult, path: Path) -> None:
    """Write the report to `path`."""
    atomic_write_text(path, render_report(evaluator, result))


@torch.no_grad()
def render_report(evaluator: Evaluator, result: EvalResult) -> str:
    """Render the report of an evaluation as HTML, with what is on record if the model is a run directory."""
    run = Run(str(evaluator.config.run))
    values = (
        _metrics_section(evaluator, run, result)
        | _slices_section(result)
        | _confusion_section(evaluator.scenes, result)
        | _errors_section(evaluator.scenes, result)
        | _calibration_section(result)
        | _attention_section(evaluator, result)
        | _training_section(evaluator, run)
        | _reproducibility_section(evaluator, run)
    )
    shown = [(id_, title) for id_, (title, variable) in _SECTIONS.items() if variable is None or values[variable]]
    return templates.render("report.html", sections=shown, **values)


def _metrics_section(evaluator: Evaluator, run: Run, result: EvalResult) -> dict[str, Any]:
    summary, predictions, model, metrics = result.summary(), result.predictions, evaluator.model, run.metrics
    num_parameters = sum(weight.numel() for weight in model.parameters())
    facts = [str(model.config.name), f"{num_parameters:,} parameters", f"digits: {evaluator.datasets.source}"]
    if "scenes" in metrics:
        minutes = f"{metrics['seconds'] / 60:.1f} minutes on {metrics['device']}"
        facts += [f"{metrics['scenes']:,} training scenes", minutes]
    if "seed" in metrics:
        facts.append(f"seed {metrics['seed']}")
    return {
        "name": str(run.path),
        "headline": f"{result.metrics['exact_match'].value:.2%}",
        "notice": evaluator.notice,
        "family": evaluator.data.family,
        "split": predictions.split,
        "num_scenes": len(predictions),
        "metrics": result.metrics,
        "facts": facts,
        "table": [(METRIC_LABELS[name], it) for name, it in result.metrics.items()],
        "loss": predictions.loss,
        "edit_distance": summary["edits_a_digit"],
        "num_errors": len(result.error_ids),
        "error_types": summary["errors"],
        "shown_height": gallery.display_height(evaluator.scenes),
    }


def _slices_section(result: EvalResult) -> dict[str, Any]:
    lowest = min((it.proportion.low for rows in result.slices.values() for it in rows), default=0.0)
    return {"slices": result.slices, "bar_start": int(10 * lowest) / 10}


def _confusion_section(scenes: SceneDataset, result: EvalResult) -> dict[str, Any]:
    pairs = confusion.most_frequent_errors(result.confusion)
    examples = confusion.find_examples(result, pairs)
    return {
        "columns": [*map(str, range(NUM_DIGITS)), "none"],
        "confusion": confusion.table_cells(result.confusion),
        "confusion_summary": confusion.summarize(result.confusion),
        "pairs": [
            {
                "title": f"{confusion.describe(label, predicted)}: {int(result.confusion[label, predicted]):,}",
                "scenes": gallery.prediction_items(scenes, result, examples[label, predicted]),
            }
            for label, predicted in pairs
        ],
    }


def _errors_section(scenes: SceneDataset, result: EvalResult) -> dict[str, Any]:
    return {"errors": gallery.prediction_items(scenes, result, result.error_ids[:_NUM_ERRORS].tolist())}


def _calibration_section(result: EvalResult) -> dict[str, Any]:
    coverage, accuracy = next(it for it in result.calibration.selective_accuracy if it[0] == 0.9)
    return {
        "calibration_error": result.calibration.expected_calibration_error,
        "selective": {"coverage": coverage, "accuracy": accuracy},
        "reliability": templates.svg(plots.reliability_diagram(result.calibration), "reliability"),
    }


def _attention_section(evaluator: Evaluator, result: EvalResult) -> dict[str, Any]:
    """Attention maps of the longest correct predictions, then of the most confident errors."""
    correct = (result.scene_metrics.exact_match > 0).nonzero()[:, 0]
    longest = correct[result.scene_metrics.num_digits[correct].argsort(descending=True, stable=True)][:2].tolist()
    ids = (longest + result.error_ids.tolist())[:_NUM_ATTENTION_SCENES]
    model, images, digits = evaluator.model, evaluator.scenes.render(ids).images, result.predictions.output.digits[ids]
    device = next(model.parameters()).device
    layers = attention_on_image(model, images.to(device), digits.to(device))
    if not layers:
        return {"attention": []}
    items, inks = gallery.prediction_items(evaluator.scenes, result, ids), images[:, 0].numpy(force=True) / 255
    predictions = decode(digits) if model.output_type == "sequence" else [None] * len(ids)
    for index, (item, ink, predicted) in enumerate(zip(items, inks, predictions, strict=True)):
        item["layers"] = [_attention_table(name, ink, maps[index], predicted) for name, maps in layers.items()]
    return {"attention": items}


def _attention_table(name: str, image: np.ndarray, maps: Tensor, predicted: list[int] | None) -> dict[str, Any]:
    """Overlays of one layer, a row per head and a column per step.

    Args:
        image: H W, floats in [0, 1].
        maps: heads T H W.
        predicted: digits of the T - 1 first steps; None for a model that classifies cells.
    """
    num_maps = maps.shape[1]
    if predicted is not None:
        steps = [*map(str, predicted), "end"]
    else:
        steps = ["all cells"] if num_maps == 1 else [f"cell {cell + 1}" for cell in range(num_maps)]
    num_steps = min(num_maps, len(steps), _MAX_STEPS)
    heads = [
        [png_data_uri(overlay_attention(image, weights)) for weights in head[:num_steps]]
        for head in maps.numpy(force=True)
    ]
    return {"name": name.replace(".", " ").replace("_", " "), "steps": steps[:num_steps], "heads": heads}


def _training_section(evaluator: Evaluator, run: Run) -> dict[str, Any]:
    rows, scenes = run.logged_metrics, evaluator.train_scenes
    shown = [] if scenes is None else gallery.scene_items(scenes, list(range(len(scenes))[:_NUM_TRAIN_SCENES]))
    return {
        "curves": templates.svg(curves.training_curves(rows), "curves") if rows else "",
        "train_scenes": shown,
    }


def _reproducibility_section(evaluator: Evaluator, run: Run) -> dict[str, Any]:
    metrics = run.metrics
    environment = {key: metrics.get(key) for key in ("id", "revision", "device", "precision")}
    environment["overrides"] = " ".join(metrics.get("overrides", []))
    environment |= metrics.get("versions", {})
    environment["report made on"] = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    model_config = {key: value for key, value in evaluator.card.items() if key in ("model", "data", "loss")}
    return {
        "environment": {key: value for key, value in environment.items() if value},
        "config": run.config_text if run.exists else json.dumps(model_config, indent=2),
    }
