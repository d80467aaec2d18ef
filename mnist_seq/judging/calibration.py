"""Whether a reader knows how sure it is.

Shapes   B scenes
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BINS = 15
"""Of equal width (Guo et al. 2017)."""
COVERAGES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)


class Bin(NamedTuple):
    """Readings of about the same confidence."""

    confidence: float
    """Its mean."""
    right: float
    """Share that was right."""
    scenes: int


class Calibration(NamedTuple):
    """Confidence of whole readings, beside how often they were right."""

    error: float
    """Expected calibration error: the mean distance of the two, over bins by their scenes (Naeini et al. 2015)."""
    bins: list[Bin]
    """Those that hold any scene, by confidence."""
    selective: list[tuple[float, float]]
    """Share of the scenes that is read, the surest first, how many of these are right (Geifman & El-Yaniv 2017)."""


def calibration(confidence: Tensor, right: Tensor) -> Calibration:
    """Hold confidence against truth.

    Args:
        confidence: B, in [0, 1].
        right: B, 1 where the reading is right, else 0.
    """
    confidence, right = confidence.double().nan_to_num(0).clamp(0, 1), right.double()  # a model of one's own may fail
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    scenes = torch.bincount(place, minlength=BINS)
    sure, hits = (torch.bincount(place, each, minlength=BINS) for each in (confidence, right))
    held = scenes > 0
    bins = [
        Bin(float(sure[at] / scenes[at]), float(hits[at] / scenes[at]), int(scenes[at]))
        for at in held.nonzero()[:, 0].tolist()
    ]
    surest = right[confidence.argsort(descending=True, stable=True)].cumsum(0)
    kept = [max(1, round(coverage * len(right))) for coverage in COVERAGES]
    return Calibration(
        error=float((sure - hits).abs().sum() / len(right)),
        bins=bins,
        selective=[(coverage, float(surest[many - 1]) / many) for coverage, many in zip(COVERAGES, kept, strict=True)],
    )
