"""Whether a reader knows how sure it is.

Shapes   B scenes
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NUM_BINS = 15
"""Of equal width (Guo et al. 2017)."""
COVERAGES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)


class CalibrationBin(NamedTuple):
    """Readings of about the same confidence."""

    confidence: float
    """Its mean."""
    accuracy: float
    """Share that was right."""
    num_scenes: int


class Calibration(NamedTuple):
    """Confidence of whole readings, beside how often they were right."""

    expected_calibration_error: float
    """Expected calibration error: the mean distance of the two, over bins by their scenes (Naeini et al. 2015)."""
    bins: list[CalibrationBin]
    """Those that hold any scene, by confidence."""
    selective_accuracy: list[tuple[float, float]]
    """Share of the scenes that is read, the surest first, how many of these are right (Geifman & El-Yaniv 2017)."""


def compute_calibration(confidence: Tensor, correct: Tensor) -> Calibration:
    """Hold confidence against truth.

    Args:
        confidence: B, in [0, 1].
        right: B, 1 where the reading is right, else 0.
    """
    confidence, correct = (
        confidence.double().nan_to_num(0).clamp(0, 1),
        correct.double(),
    )  # a model of one's own may fail
    place = (confidence * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    scenes = torch.bincount(place, minlength=NUM_BINS)
    sure, hits = (torch.bincount(place, each, minlength=NUM_BINS) for each in (confidence, correct))
    held = scenes > 0
    bins = [
        CalibrationBin(float(sure[at] / scenes[at]), float(hits[at] / scenes[at]), int(scenes[at]))
        for at in held.nonzero()[:, 0].tolist()
    ]
    surest = correct[confidence.argsort(descending=True, stable=True)].cumsum(0)
    kept = [max(1, round(coverage * len(correct))) for coverage in COVERAGES]
    return Calibration(
        expected_calibration_error=float((sure - hits).abs().sum() / len(correct)),
        bins=bins,
        selective_accuracy=[
            (coverage, float(surest[many - 1]) / many) for coverage, many in zip(COVERAGES, kept, strict=True)
        ],
    )
