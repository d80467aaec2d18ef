"""Calibration: does the confidence of a prediction match its accuracy?

Shapes   B scenes
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mnist_seq.inference.platt_scaling import PlattScaling

NUM_BINS = 15
"""Bins of equal width (Guo et al. 2017)."""
_NUM_FOLDS = 5
"""Parts of the predictions, each of which is scaled by a fit on the others."""
_NUM_EQUAL_BINS = 10
"""Bins of equal size."""
_NUM_RESAMPLES = 2000
"""Resamples of the bootstrap interval."""
COVERAGES = (1.0, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Coverages at which the selective accuracy is computed."""


class CalibrationBin(NamedTuple):
    """Predictions of similar confidence."""

    confidence: float
    """Mean confidence, in [0, 1]."""
    accuracy: float
    """Fraction of correct predictions."""
    num_scenes: int


class Calibration(NamedTuple):
    """Confidence of whole sequences compared with their accuracy."""

    expected_calibration_error: float
    """Mean absolute difference of confidence and accuracy, weighted by bin size (Naeini et al. 2015)."""
    bins: list[CalibrationBin]
    """The bins that are not empty, in ascending order of confidence."""
    selective_accuracy: list[tuple[float, float]]
    """Coverage and the accuracy on that fraction of the scenes, most confident first (Geifman & El-Yaniv 2017)."""


def compute_calibration(confidence: Tensor, correct: Tensor) -> Calibration:
    """Compute the calibration of sequence-level confidences.

    Args:
        confidence: B, in [0, 1]; other values are clamped, and NaN counts as 0, since a custom model may return them.
        correct: B, 1 where the prediction is correct, else 0.
    """
    confidence, correct = confidence.double().nan_to_num(0).clamp(0, 1), correct.double()
    bin_ids = (confidence * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    counts = torch.bincount(bin_ids, minlength=NUM_BINS)
    confidence_sums, correct_sums = (torch.bincount(bin_ids, it, NUM_BINS) for it in (confidence, correct))
    bins = [
        CalibrationBin(float(confidence_sums[i] / counts[i]), float(correct_sums[i] / counts[i]), int(counts[i]))
        for i in (counts > 0).nonzero()[:, 0].tolist()
    ]
    cumulative_correct = correct[confidence.argsort(descending=True, stable=True)].cumsum(0)
    num_kept = {coverage: max(1, round(coverage * len(correct))) for coverage in COVERAGES}
    return Calibration(
        expected_calibration_error=float((confidence_sums - correct_sums).abs().sum() / len(correct)),
        bins=bins,
        selective_accuracy=[
            (coverage, float(cumulative_correct[kept - 1]) / kept) for coverage, kept in num_kept.items()
        ],
    )


class ScalingReport(NamedTuple):
    """What Platt scaling does to the expected calibration error, over ten bins of equal size."""

    scaling: PlattScaling
    """Fitted on all predictions."""
    before: float
    """Error of the confidences as they are."""
    after: float
    """Error of confidences that were scaled by fits on the other four fifths of the predictions."""
    interval: tuple[float, float]
    """95 % interval of `after`."""


def fit_scaling(confidence: Tensor, correct: Tensor) -> ScalingReport:
    """Fit Platt scaling to predictions, and measure by cross-fitting in five random folds what it does.

    The interval is the basic bootstrap's: the error of a resample is larger than that of its population, and this
    corrects for it. It does not include the variance of the fit.

    Args:
        confidence: B, in [0, 1]; other values are clamped, and NaN counts as 0, since a custom model may return them.
        correct: B, 1 where the prediction is right, else 0.

    Raises:
        UserError: as for `PlattScaling.fit`, of any four fifths.
    """
    confidence, correct = confidence.double().nan_to_num(0).clamp(0, 1), correct.double()
    generator = torch.Generator().manual_seed(0)
    folds, scaled = torch.randperm(len(correct), generator=generator) % _NUM_FOLDS, confidence.clone()
    for fold in range(_NUM_FOLDS):
        rest = folds != fold
        scaled[~rest] = PlattScaling.fit(confidence[rest], correct[rest])(confidence[~rest])
    after = _equal_bins_error(scaled, correct)
    resamples = (torch.randint(len(correct), (len(correct),), generator=generator) for _ in range(_NUM_RESAMPLES))
    errors = torch.tensor([_equal_bins_error(scaled[it], correct[it]) for it in resamples])
    low, high = (2 * after - errors.quantile(torch.tensor([0.975, 0.025]))).clamp(min=0).tolist()
    before = _equal_bins_error(confidence, correct)
    return ScalingReport(PlattScaling.fit(confidence, correct), before, after, (low, high))


def _equal_bins_error(confidence: Tensor, correct: Tensor) -> float:
    """Expected calibration error over bins of equal size (Nixon et al. 2019)."""
    by_confidence = (confidence - correct)[confidence.argsort(stable=True)]
    return sum(abs(float(it.sum())) for it in by_confidence.tensor_split(_NUM_EQUAL_BINS)) / len(correct)
