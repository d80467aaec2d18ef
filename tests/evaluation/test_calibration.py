"""Calibration: confidence compared with accuracy."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from mnist_seq.evaluation.calibration import NUM_BINS, compute_calibration


def test_calibration_error_equals_that_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(5000, generator=generator)
    correct = (torch.rand(5000, generator=generator) < confidence**2).float()
    expected = binary_calibration_error(confidence, correct.int(), n_bins=NUM_BINS, norm="l1")
    assert compute_calibration(confidence, correct).expected_calibration_error == pytest.approx(
        float(expected), abs=1e-5
    )


def test_calibration_error_vanishes_when_calibrated_and_equals_the_error_rate_when_always_certain() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(50_000, generator=generator)
    correct = (torch.rand(50_000, generator=generator) < confidence).float()
    assert compute_calibration(confidence, correct).expected_calibration_error < 0.01
    assert compute_calibration(torch.ones(50_000), correct).expected_calibration_error == pytest.approx(
        float(1 - correct.mean())
    )


def test_each_scene_is_in_one_bin() -> None:
    confidence = torch.tensor([0.0, 0.01, 0.5, 0.999, 1.0])
    bins = compute_calibration(confidence, torch.tensor([0.0, 0, 1, 1, 1])).bins
    assert sum(it.num_scenes for it in bins) == 5
    assert [it.num_scenes for it in bins] == [2, 1, 2]
    assert bins[0].accuracy == 0
    assert bins[-1].confidence == pytest.approx(0.9995)


def test_selective_accuracy_is_the_accuracy_on_the_most_confident_scenes() -> None:
    confidence = torch.linspace(0.1, 0.99, 100)
    correct = (torch.arange(100) >= 30).float()
    selective = dict(compute_calibration(confidence, correct).selective_accuracy)
    assert selective[1.0] == pytest.approx(0.7)
    assert selective[0.5] == selective[0.7] == 1
    assert selective[0.8] == pytest.approx(70 / 80)
