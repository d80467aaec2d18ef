"""The DataLoader baseline draws our scenes: bit-equal without augmentation, alike in the mean with it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import default_collate

from mnist_seq.benchmarks.baseline_loader import PerSampleDataset
from mnist_seq.benchmarks.rendering import PRESETS
from mnist_seq.data.render import render
from tests.data.preset_configs import pool, preset

NUM_SCENES = 1200


@pytest.mark.parametrize("name", [*PRESETS, "mixed"])
def test_undistorted_baseline_scenes_equal_rendered_scenes(name: str) -> None:
    config = preset(name)
    dataset = PerSampleDataset(config, pool("train"), NUM_SCENES, augment=False)
    images, digits = default_collate([dataset[index] for index in range(NUM_SCENES)])
    expected = render(torch.arange(NUM_SCENES), config, pool("train"), 0)
    assert torch.equal(images, expected.images)
    assert torch.equal(digits, expected.digits)


@pytest.mark.parametrize("name", PRESETS)
def test_augmented_baseline_scenes_have_the_same_digits_and_mean_ink(name: str) -> None:
    config = preset(name, "data/augment=light")
    torch.manual_seed(0)
    dataset = PerSampleDataset(config, pool("train"), NUM_SCENES, augment=True)
    images, digits = default_collate([dataset[index] for index in range(NUM_SCENES)])
    expected = render(torch.arange(NUM_SCENES), config, pool("train"), 0, augmented=True)
    assert torch.equal(digits, expected.digits)
    assert (images.shape, images.dtype) == (expected.images.shape, expected.images.dtype)
    ink, expected_ink = (it.double().flatten(1).mean(1) for it in (images, expected.images))
    stderr = ((ink.var() + expected_ink.var()) / NUM_SCENES).sqrt()
    assert (ink.mean() - expected_ink.mean()).abs() <= 4 * stderr + 0.02 * expected_ink.mean()
