"""All that is said of a reader, from what it read.

Shapes   B scenes   N slots for digits
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mnist_seq.evaluation import metrics
from mnist_seq.evaluation.calibration import Calibration, compute_calibration
from mnist_seq.evaluation.intervals import Proportion, SharedSources, proportion_with_interval
from mnist_seq.evaluation.metrics import SceneMetrics
from mnist_seq.evaluation.slices import Slice, compute_slices, max_box_iou
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import decode


@dataclass(frozen=True)
class Predictions:
    """What was read in the first scenes of a set, beside what they show; on the CPU."""

    split: str
    output: DecodeOutput
    digits: Tensor
    """B N, int64, PAD after the last."""
    boxes: Tensor
    """B N 4, as `Scenes` has them."""
    source_ids: Tensor
    """B N, as `Scenes` has them."""
    ordered: bool
    """Whether the order counts."""
    order_margins: Tensor | None
    """B, pixels that decide the order, where it hangs on pixels."""
    loss: float
    """Mean cross-entropy a target, teacher-forced, nats."""

    def __len__(self) -> int:
        return len(self.digits)

    @property
    def has_multiple_boxes(self) -> Tensor:
        """Which scenes show two known boxes or more; B, bool."""
        return ((self.boxes[..., 2:] > self.boxes[..., :2]).all(-1)).sum(1) > 1

    @cached_property
    def max_iou(self) -> Tensor:
        """The largest intersection over union of any two boxes of each scene; B."""
        return max_box_iou(self.boxes)


@dataclass(frozen=True)
class EvalResult:
    """The figures of a split, each with its 95 % interval."""

    predictions: Predictions
    scene_metrics: SceneMetrics
    metrics: dict[str, Proportion]
    error_types: dict[str, Tensor]
    """What went wrong in each reading that is not right: each has one kind; B each, bool."""
    edit_distances: Tensor
    """B, int64: digits to put in, leave out or replace until the reading is right; of sets, of ascending digits."""
    confusion: Tensor
    """10 11, int64: true digit by read digit, the last column for none."""
    calibration: Calibration
    slices: dict[str, list[Slice]]

    @property
    def error_ids(self) -> Tensor:
        """Scenes that were not read right, the surest first; ids."""
        ids = (self.scene_metrics.exact_match == 0).nonzero()[:, 0]
        return ids[self.predictions.output.score[ids].argsort(descending=True, stable=True)]

    def summary(self) -> dict[str, Any]:
        """What metrics.json keeps under the split's name."""
        figures: dict[str, Any] = {"scenes": len(self.predictions), "loss": self.predictions.loss}
        for name, (value, low, high, _) in self.metrics.items():
            figures |= {name: value, f"{name}_interval": [low, high]}
        return figures | {
            "edits_a_digit": float(self.edit_distances.sum() / self.scene_metrics.num_digits.sum().clamp(min=1)),
            "errors": {kind: int(these.sum()) for kind, these in self.error_types.items()},
            "calibration_error": self.calibration.expected_calibration_error,
            "confusion": self.confusion.tolist(),
        }

    def to_dict(self) -> dict[str, Any]:
        """What judgement.json holds: the summary, strata and calibration."""
        return self.summary() | {
            "strata": {
                what: [{"name": name, **share._asdict()} for name, share in each] for what, each in self.slices.items()
            },
            "calibration": {
                "bins": [each._asdict() for each in self.calibration.bins],
                "selective": [
                    {"coverage": part, "right": right} for part, right in self.calibration.selective_accuracy
                ],
            },
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """A line a scene, for scenes.csv."""
        readings, readout = self.predictions, self.predictions.output
        kind = [""] * len(readings)
        for name, these in self.error_types.items():
            for id_ in these.nonzero()[:, 0].tolist():
                kind[id_] = name
        several = readings.has_multiple_boxes.tolist()
        overlap = [round(each, 4) for each in readings.max_iou.tolist()]
        margin = [""] * len(readings) if readings.order_margins is None else readings.order_margins.tolist()
        columns = {
            "id": range(len(readings)),
            "digits": [" ".join(map(str, each)) for each in decode(readings.digits)],
            "read": [" ".join(map(str, each)) for each in decode(readout.digits)],
            "right": self.scene_metrics.exact_match.int().tolist(),
            "confidence": [round(each, 6) for each in readout.confidence.tolist()],
            "error": kind,
            "edits": self.edit_distances.tolist(),
            "overlap": [each if many else "" for many, each in zip(several, overlap, strict=True)],
            "margin": [each if many else "" for many, each in zip(several, margin, strict=True)],
            "sources": [" ".join(str(it) for it in each if it >= 0) for each in readings.source_ids.tolist()],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def compute_result(predictions: Predictions) -> EvalResult:
    """Say of readings all that can be said."""
    verdict = metrics.compute_scene_metrics(predictions.output, predictions.digits, predictions.ordered)
    kin = SharedSources(predictions.source_ids)
    ones = torch.ones_like(verdict.exact_match)
    shares = {
        name: proportion_with_interval(getattr(verdict, top), getattr(verdict, bottom) if bottom else ones, kin)
        for name, (top, bottom) in metrics.METRICS.items()
    }
    return EvalResult(
        predictions=predictions,
        scene_metrics=verdict,
        metrics=shares,
        error_types=metrics.classify_errors(verdict),
        edit_distances=_edit_distances(predictions, verdict),
        confusion=metrics.confusion_matrix(predictions.output, predictions.digits, predictions.ordered),
        calibration=compute_calibration(predictions.output.confidence, verdict.exact_match),
        slices=compute_slices(predictions, verdict.exact_match, kin),
    )


def _edit_distances(predictions: Predictions, scene_metrics: SceneMetrics) -> Tensor:
    edits = torch.zeros(len(predictions), dtype=torch.int64)
    wrong = (scene_metrics.exact_match == 0).nonzero()[:, 0]
    both = (decode(each[wrong]) for each in (predictions.output.digits, predictions.digits))
    for id_, read, truth in zip(wrong.tolist(), *both, strict=True):
        edits[id_] = (
            metrics.edit_distance(read, truth)
            if predictions.ordered
            else metrics.edit_distance(sorted(read), sorted(truth))
        )
    return edits
