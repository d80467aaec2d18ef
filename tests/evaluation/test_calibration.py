"""Confidence held against truth."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error

from mnist_seq.evaluation.calibration import NUM_BINS, compute_calibration


def test_the_error_is_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    sure = torch.rand(5000, generator=generator)
    right = (torch.rand(5000, generator=generator) < sure**2).float()
    expected = binary_calibration_error(sure, right.int(), n_bins=NUM_BINS, norm="l1")
    assert compute_calibration(sure, right).expected_calibration_error == pytest.approx(float(expected), abs=1e-5)


def test_who_is_as_sure_as_right_errs_little_and_who_is_always_sure_by_all_errors() -> None:
    generator = torch.Generator().manual_seed(0)
    sure = torch.rand(50_000, generator=generator)
    right = (torch.rand(50_000, generator=generator) < sure).float()
    assert compute_calibration(sure, right).expected_calibration_error < 0.01
    assert compute_calibration(torch.ones(50_000), right).expected_calibration_error == pytest.approx(
        float(1 - right.mean())
    )


def test_bins_hold_every_scene_once() -> None:
    sure = torch.tensor([0.0, 0.01, 0.5, 0.999, 1.0])
    bins = compute_calibration(sure, torch.tensor([0.0, 0, 1, 1, 1])).bins
    assert sum(each.num_scenes for each in bins) == 5
    assert [each.num_scenes for each in bins] == [2, 1, 2]
    assert bins[0].accuracy == 0
    assert bins[-1].confidence == pytest.approx(0.9995)


def test_reading_the_surest_alone_is_counting_them() -> None:
    sure = torch.linspace(0.1, 0.99, 100)
    right = (torch.arange(100) >= 30).float()
    selective = dict(compute_calibration(sure, right).selective_accuracy)
    assert selective[1.0] == pytest.approx(0.7)
    assert selective[0.5] == selective[0.7] == 1
    assert selective[0.8] == pytest.approx(70 / 80)
