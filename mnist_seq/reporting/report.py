"""A report in one HTML file: no network, no server, no script.

Shapes   B scenes   H W canvas   T digits read
"""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.data.datasets import SceneDataset
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluator import Evaluator
from mnist_seq.evaluation.metrics import confusion_matrix
from mnist_seq.nn.attention_maps import attention_on_image
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.model import Model
from mnist_seq.reporting import curves, gallery, plots, templates
from mnist_seq.reporting.data_uri import png_data_uri
from mnist_seq.reporting.overlay import overlay_attention
from mnist_seq.reporting.tables import METRIC_LABELS
from mnist_seq.run_dir import Run
from mnist_seq.vocabulary import NUM_DIGITS, decode

_NUM_HARD_EXAMPLES, _NUM_PAIRS, _SCENES_PER_PAIR, _NUM_ATTENTION_SCENES, _NUM_TRAIN_SCENES = 28, 4, 7, 3, 14
_MAX_STEPS = 12
"""Digits of a reading whose attention is drawn."""
_MAX_SEARCHED = 500
"""Wrong readings in which examples of confused digits are looked for."""


@dataclass(frozen=True)
class ReportInput:
    """Whom a report is about."""

    name: str
    model: Model
    card: dict[str, Any]
    """What is said of the weights."""
    scenes: SceneDataset
    """That it read."""
    digit_source: str
    """Of their digits."""
    notice: str = ""
    """What whoever sees the report must be told."""
    train_scenes: SceneDataset | None = None
    """The scenes that it learnt from, where they are at hand."""
    run: Run | None = None
    """Where it was trained, where that is at hand."""

    @classmethod
    def from_evaluator(cls, evaluator: Evaluator) -> ReportInput:
        """The input for the report of an evaluation."""
        run = Run(str(evaluator.config.run))
        return cls(
            name=str(run.path),
            model=evaluator.model,
            card=evaluator.card,
            scenes=evaluator.scenes,
            digit_source=evaluator.datasets.source,
            notice=evaluator.notice,
            train_scenes=evaluator.train_scenes,
            run=run if run.exists else None,
        )


def write_report(inputs: ReportInput, result: EvalResult, path: Path) -> None:
    """The report as a file."""
    atomic_write_text(path, render_report(inputs, result))


@torch.no_grad()
def render_report(inputs: ReportInput, result: EvalResult) -> str:
    """The report of a reader as HTML."""
    sections = {
        "figures": "figures",
        "strata": "where it reads well",
        "digits": "confused digits",
        "worst": "worst errors",
        "calibration": "calibration",
        "attention": "attention",
        "curves": "curves",
        "data": "data",
        "about": "about",
    }
    parts = (
        _metrics_section(inputs, result)
        | _slices_section(result)
        | _confusion_section(inputs, result)
        | _hard_examples_section(inputs, result)
        | _calibration_section(result)
        | _attention_section(inputs, result)
        | _training_section(inputs)
        | _reproducibility_section(inputs)
    )
    missing = {"strata": "strata", "attention": "looks", "curves": "curves", "data": "samples"}
    shown = [(id_, title) for id_, title in sections.items() if id_ not in missing or parts[missing[id_]]]
    return templates.render("report.html", sections=shown, **parts)


def _metrics_section(inputs: ReportInput, result: EvalResult) -> dict[str, Any]:
    summary, readings = result.summary(), result.predictions
    metrics = inputs.run.metrics if inputs.run else {}
    parameters = sum(weight.numel() for weight in inputs.model.parameters())
    facts = [f"{inputs.model.config.name}", f"{parameters:,} parameters", f"digits: {inputs.digit_source}"]
    if "scenes" in metrics:
        facts.append(f"{metrics['scenes']:,} training scenes")
        facts.append(f"{metrics['seconds'] / 60:.1f} minutes on {metrics['device']}")
    if "seed" in metrics:
        facts.append(f"seed {metrics['seed']}")
    return {
        "name": inputs.name,
        "headline": f"{result.metrics['exact_match'].value:.2%}",
        "notice": inputs.notice,
        "family": getattr(getattr(inputs.scenes, "config", None), "family", "folder"),
        "split": readings.split,
        "scenes": len(readings),
        "figures": result.metrics,
        "facts": facts,
        "table": [(METRIC_LABELS[name], it) for name, it in result.metrics.items()],
        "loss": readings.loss,
        "edits": summary["edits_a_digit"],
        "wrong": len(result.error_ids),
        "kinds": summary["errors"],
        "shown_height": gallery.display_height(inputs.scenes),
    }


def _slices_section(result: EvalResult) -> dict[str, Any]:
    least = min((it.proportion.low for each in result.slices.values() for it in each), default=0.0)
    return {"strata": result.slices, "floor": int(10 * least) / 10}


def _confusion_section(inputs: ReportInput, result: EvalResult) -> dict[str, Any]:
    counts = result.confusion
    rows = counts.sum(1, keepdim=True).clamp(min=1)
    wrong = counts.clone()
    wrong[:, :NUM_DIGITS].fill_diagonal_(0)
    shares, errors = counts / rows, wrong / rows
    shades = torch.where(wrong > 0, (errors / errors.max().clamp(min=1e-9)).sqrt() * 0.7, shares * 0.6).tolist()
    found = sorted(wrong.nonzero().tolist(), key=lambda pair: -int(wrong[tuple(pair)]))[:_NUM_PAIRS]
    examples = _confusion_examples(result, found)
    return {
        "columns": [*map(str, range(NUM_DIGITS)), "none"],
        "confusion": [
            [
                {"count": count, "shade": round(shades[row][column], 3) if count else 0, "right": row == column}
                for column, count in enumerate(each)
            ]
            for row, each in enumerate(counts.tolist())
        ],
        "confused": _summarise_confusions(wrong),
        "pairs": [
            {
                "title": f"{truth} {f'read as {read}' if read < NUM_DIGITS else 'not read'}: {int(wrong[truth, read]):,}",
                "scenes": gallery.prediction_items(inputs.scenes, result, examples[(truth, read)]),
            }
            for truth, read in found
        ],
    }


def _summarise_confusions(wrong: Tensor) -> str:
    """The pairs that are most often taken for each other, and the old question."""
    total = int(wrong.sum())
    if not total:
        return "Every digit was read right."
    both = wrong[:, :NUM_DIGITS] + wrong[:, :NUM_DIGITS].T
    pairs = sorted(((int(both[a, b]), a, b) for a in range(NUM_DIGITS) for b in range(a)), reverse=True)
    top = ", ".join(f"{b} and {a} ({count / total:.0%})" for count, a, b in pairs[:3] if count)
    ones = int(both[1, 9])
    old = f"1 and 9 are {ones / total:.0%} of them." if (9, 1) not in [(a, b) for _, a, b in pairs[:3]] else ""
    none = int(wrong[:, NUM_DIGITS].sum())
    missed = f" {none / total:.0%} were not read at all." if none else ""
    taken = f" Most often taken for each other: {top}." if top else ""
    return f"{total:,} digits were not read right.{taken}{missed} {old}"


def _confusion_examples(result: EvalResult, pairs: list[list[int]]) -> dict[tuple[int, int], list[int]]:
    """Scenes in which one digit was read as another, the surest first; ids."""
    readings = result.predictions
    found: dict[tuple[int, int], list[int]] = {(truth, read): [] for truth, read in pairs}
    for id_ in result.error_ids[:_MAX_SEARCHED].tolist():
        alone = DecodeOutput(*(part[id_ : id_ + 1] for part in readings.output[:4]))
        counts = confusion_matrix(alone, readings.digits[id_ : id_ + 1], readings.ordered)
        for (truth, read), ids in found.items():
            if counts[truth, read] and len(ids) < _SCENES_PER_PAIR:
                ids.append(id_)
    return found


def _hard_examples_section(inputs: ReportInput, result: EvalResult) -> dict[str, Any]:
    return {"worst": gallery.prediction_items(inputs.scenes, result, result.error_ids[:_NUM_HARD_EXAMPLES].tolist())}


def _calibration_section(result: EvalResult) -> dict[str, Any]:
    coverage, right = next(it for it in result.calibration.selective_accuracy if it[0] == 0.9)
    return {
        "calibration_error": result.calibration.expected_calibration_error,
        "halfway": {"coverage": coverage, "right": right},
        "reliability": templates.svg(plots.reliability_diagram(result.calibration), "reliability"),
    }


def _attention_section(inputs: ReportInput, result: EvalResult) -> dict[str, Any]:
    right = (result.scene_metrics.exact_match > 0).nonzero()[:, 0]
    full = right[result.scene_metrics.num_digits[right].argsort(descending=True, stable=True)][:2].tolist()
    ids = (full + result.error_ids.tolist())[:_NUM_ATTENTION_SCENES]
    scenes, digits = inputs.scenes.render(ids), result.predictions.output.digits[ids]
    device, writes = next(inputs.model.parameters()).device, inputs.model.output_type == "sequence"
    layers, looks = attention_on_image(inputs.model, scenes.images.to(device), digits.to(device)), []
    pictures = gallery.prediction_items(inputs.scenes, result, ids)
    for place, (it, read) in enumerate(zip(pictures, decode(digits), strict=True)):
        image, named = scenes.images[place, 0].numpy(force=True) / 255, []
        for name, maps in layers.items():
            turns = maps[place].numpy(force=True)  # heads, T H W
            cells = ["all cells"] if turns.shape[1] == 1 else [f"cell {at + 1}" for at in range(turns.shape[1])]
            titles = [*map(str, read), "end"] if writes else cells
            many = min(turns.shape[1], len(titles), _MAX_STEPS)
            heads = [
                [png_data_uri(overlay_attention(image, turns[head, step])) for step in range(many)]
                for head in range(turns.shape[0])
            ]
            named.append({"name": name.replace(".", " ").replace("_", " "), "steps": titles[:many], "heads": heads})
        if named:
            looks.append(it | {"layers": named})
    return {"looks": looks}


def _training_section(inputs: ReportInput) -> dict[str, Any]:
    rows = inputs.run.logged_metrics if inputs.run else []
    taught = inputs.train_scenes
    samples = (
        gallery.scene_items(taught, list(range(min(_NUM_TRAIN_SCENES, len(taught))))) if taught is not None else []
    )
    return {"curves": templates.svg(curves.training_curves(rows), "curves") if rows else "", "samples": samples}


def _reproducibility_section(inputs: ReportInput) -> dict[str, Any]:
    metrics = inputs.run.metrics if inputs.run else {}
    environment = {key: metrics[key] for key in ("id", "revision", "device", "precision") if metrics.get(key)}
    environment["overrides"] = " ".join(metrics.get("overrides", []))
    environment |= metrics.get("versions", {})
    environment["report made on"] = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    if inputs.run:
        config = inputs.run.config_text
    else:
        config = json.dumps({key: it for key, it in inputs.card.items() if key in ("model", "data", "loss")}, indent=2)
    return {"environment": {key: it for key, it in environment.items() if it}, "config": config}
