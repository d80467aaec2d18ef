"""The result of an evaluation: everything that is computed from predictions, and its files.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mnist_seq.atomic_io import atomic_path, atomic_write_text
from mnist_seq.evaluation import metrics
from mnist_seq.evaluation.calibration import Calibration, compute_calibration
from mnist_seq.evaluation.intervals import Proportion, SharedSources, proportion_with_interval
from mnist_seq.evaluation.metrics import SceneMetrics
from mnist_seq.evaluation.predictions import Predictions
from mnist_seq.evaluation.slices import Slice, compute_slices
from mnist_seq.vocabulary import decode

RESULT_FILE, SCENES_FILE = "evaluation.json", "scenes.csv"
"""Files that `save_eval_result` writes."""


@dataclass(frozen=True)
class EvalResult:
    """Metrics of a split, each with its 95 % confidence interval."""

    predictions: Predictions
    scene_metrics: SceneMetrics
    metrics: dict[str, Proportion]
    error_types: dict[str, Tensor]
    """Error type -> B, bool. Each wrong prediction has exactly one type."""
    edit_distances: Tensor
    """B, int64: Levenshtein distance to the label; for sets, of the digits in ascending order."""
    confusion: Tensor
    """10 11, int64: true digit by predicted digit; the last column counts digits without a prediction."""
    calibration: Calibration
    slices: dict[str, list[Slice]]

    @property
    def error_ids(self) -> Tensor:
        """Ids of the scenes with a wrong prediction, most confident first."""
        ids = (self.scene_metrics.exact_match == 0).nonzero()[:, 0]
        return ids[self.predictions.output.score[ids].argsort(descending=True, stable=True)]

    def summary(self) -> dict[str, Any]:
        """The metrics that metrics.json keeps under the name of the split."""
        summary: dict[str, Any] = {"scenes": len(self.predictions), "loss": self.predictions.loss}
        for name, (value, low, high, _) in self.metrics.items():
            summary |= {name: value, f"{name}_interval": [low, high]}
        return summary | {
            "edits_a_digit": float(self.edit_distances.sum() / self.scene_metrics.num_digits.sum().clamp(min=1)),
            "errors": {error_type: int(mask.sum()) for error_type, mask in self.error_types.items()},
            "calibration_error": self.calibration.expected_calibration_error,
            "confusion": self.confusion.tolist(),
        }

    def to_dict(self) -> dict[str, Any]:
        """The content of evaluation.json: the summary, the slices and the calibration."""
        return self.summary() | {
            "slices": {
                criterion: [{"name": name, **proportion._asdict()} for name, proportion in slices]
                for criterion, slices in self.slices.items()
            },
            "calibration": {
                "bins": [calibration_bin._asdict() for calibration_bin in self.calibration.bins],
                "selective": [
                    {"coverage": coverage, "accuracy": accuracy}
                    for coverage, accuracy in self.calibration.selective_accuracy
                ],
            },
        }

    def to_columns(self) -> dict[str, Sequence[Any]]:
        """The columns of scenes.csv, a row per scene."""
        predictions, output = self.predictions, self.predictions.output
        masks, margins = [mask.numpy() for mask in self.error_types.values()], predictions.order_margins

        def if_several(values: list[float]) -> list[float | str]:
            scenes = zip(predictions.has_multiple_boxes.tolist(), values, strict=True)
            return [value if several else "" for several, value in scenes]

        files = {} if predictions.files is None else {"file": predictions.files}
        return files | {
            "id": range(len(predictions)),
            "digits": [" ".join(map(str, digits)) for digits in decode(predictions.digits)],
            "prediction": [" ".join(map(str, digits)) for digits in decode(output.digits)],
            "exact_match": self.scene_metrics.exact_match.int().tolist(),
            "confidence": [round(confidence, 6) for confidence in output.confidence.tolist()],
            "error": np.select(masks, [*self.error_types], "").tolist(),
            "edit_distance": self.edit_distances.tolist(),
            "max_iou": if_several([round(iou, 4) for iou in predictions.max_iou.tolist()]),
            "order_margin": [""] * len(predictions) if margins is None else if_several(margins.tolist()),
            "source_ids": [" ".join(str(id_) for id_ in ids if id_ >= 0) for ids in predictions.source_ids.tolist()],
        }


def compute_result(predictions: Predictions) -> EvalResult:
    """Compute metrics, intervals, error types, calibration and slices."""
    scene_metrics = metrics.compute_scene_metrics(predictions.output, predictions.digits, predictions.ordered)
    exact_match, shared_sources = scene_metrics.exact_match, SharedSources(predictions.shared_ids)
    proportions = {
        name: proportion_with_interval(
            getattr(scene_metrics, numerator),
            getattr(scene_metrics, denominator) if denominator else torch.ones_like(exact_match),
            shared_sources,
        )
        for name, (numerator, denominator) in metrics.METRICS.items()
    }
    return EvalResult(
        predictions=predictions,
        scene_metrics=scene_metrics,
        metrics=proportions,
        error_types=metrics.classify_errors(scene_metrics),
        edit_distances=_edit_distances(predictions, scene_metrics),
        confusion=metrics.confusion_matrix(predictions.output, predictions.digits, predictions.ordered),
        calibration=compute_calibration(predictions.output.confidence, exact_match),
        slices=compute_slices(predictions, exact_match, shared_sources),
    )


def save_eval_result(result: EvalResult, folder: Path) -> None:
    """Write evaluation.json and scenes.csv into an existing folder."""
    atomic_write_text(folder / RESULT_FILE, json.dumps(result.to_dict(), indent=2) + "\n")
    with (
        atomic_path(folder / SCENES_FILE) as temp_path,
        temp_path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        columns, writer = result.to_columns(), csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _edit_distances(predictions: Predictions, scene_metrics: SceneMetrics) -> Tensor:
    distances = torch.zeros(len(predictions), dtype=torch.int64)
    is_error = scene_metrics.exact_match == 0
    sequences = [decode(digits[is_error]) for digits in (predictions.output.digits, predictions.digits)]
    if not predictions.ordered:
        sequences = [[sorted(digits) for digits in side] for side in sequences]
    distances[is_error] = torch.tensor([*map(metrics.edit_distance, *sequences)], dtype=torch.int64)
    return distances
