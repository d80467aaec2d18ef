"""Corruptions change pixels and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from mnist_seq.config import CorruptionConfig, FolderConfig
from mnist_seq.data import datasets
from mnist_seq.data.datasets import CorruptedDataset, SyntheticDataset
from tests.data.preset_configs import pool, preset

CORRUPTIONS = {"rotation": 20, "stroke": 0.6, "blur": 1, "noise": 0.2, "contrast": 0.5}
SINGLE = SyntheticDataset(preset("single"), pool("test"))


@pytest.mark.parametrize("name", ["grid", "scatter", "cluttered", "multimnist_s4", "mixed"])
@pytest.mark.parametrize("key", CORRUPTIONS)
def test_corruptions_change_images_but_no_ground_truth(key: str, name: str) -> None:
    scenes = SyntheticDataset(preset(name), pool("test"))
    plain, corrupted = scenes[:40], CorruptedDataset(scenes, CorruptionConfig(**{key: CORRUPTIONS[key]}))[:40]
    for field in ("digits", "tokens", "cells", "counts", "sources"):
        assert torch.equal(getattr(corrupted, field), getattr(plain, field))
    not_empty = plain.counts > 0
    assert ((corrupted.images != plain.images).flatten(1).any(1) | ~not_empty).all()
    if key not in ("rotation", "stroke"):
        assert torch.equal(corrupted.boxes, plain.boxes)


def test_corrupted_scene_is_the_same_alone_and_in_a_batch() -> None:
    dataset = CorruptedDataset(SINGLE, CorruptionConfig(**CORRUPTIONS))
    batch = dataset[:30].images
    assert torch.equal(batch[[7]], dataset[7].images)
    assert torch.equal(batch[[20, 3]], dataset.render([20, 3]).images)


def test_rotation_turns_each_digit_one_way_or_the_other() -> None:
    plain, rotated = SINGLE[:200].images, CorruptedDataset(SINGLE, CorruptionConfig(rotation=90))[:200].images
    left, right = ((rotated == plain.rot90(turns, (2, 3))).flatten(1).all(1) for turns in (1, -1))
    assert (left | right).all()
    assert 60 < left.sum() < 140


def test_stroke_corruption_makes_strokes_thicker_or_thinner() -> None:
    ink = [
        CorruptedDataset(SINGLE, CorruptionConfig(stroke=amount))[:100].images.float().sum((1, 2, 3))
        for amount in (-0.8, 0.8)
    ]
    plain = SINGLE[:100].images.float().sum((1, 2, 3))
    assert (ink[0] < plain).all()
    assert (ink[1] > plain).all()


@pytest.mark.parametrize("key", ["rotation", "stroke"])
def test_distractors_are_corrupted_as_digits_are(key: str) -> None:
    """Otherwise strokes would tell digits and distractors apart."""
    scenes = SyntheticDataset(preset("cluttered"), pool("test"))
    plain, corrupted = scenes[:40], CorruptedDataset(scenes, CorruptionConfig(**{key: CORRUPTIONS[key]}))[:40]
    background = torch.ones(40, 100, 100, dtype=torch.bool)
    for scene, boxes in enumerate(torch.cat([plain.boxes, corrupted.boxes], 1).tolist()):
        for x0, y0, x1, y1 in boxes:
            background[scene, y0:y1, x0:x1] = False
    ink = [float((batch.images[:, 0] * background).sum()) for batch in (plain, corrupted)]
    assert ((plain.images != corrupted.images)[:, 0] & background).flatten(1).any(1).all()
    assert key != "stroke" or ink[1] > 1.2 * ink[0]


def test_blur_equals_scipys_gaussian_filter() -> None:
    plain, blurred = (
        dataset[:20].images[:, 0].numpy() for dataset in (SINGLE, CorruptedDataset(SINGLE, CorruptionConfig(blur=1.5)))
    )
    expected = gaussian_filter(plain.astype(np.float64), (0, 1.5, 1.5), mode="mirror", truncate=3.3)
    assert np.abs(blurred - expected).max() < 1.5


def test_blur_scales_with_digit_size() -> None:
    large = SyntheticDataset(preset("single", "data.digit_size=56"), pool("test"))
    blurred = CorruptedDataset(large, CorruptionConfig(blur=1))[:20].images[:, 0].numpy()
    expected = gaussian_filter(large[:20].images[:, 0].numpy().astype(np.float64), (0, 2, 2), mode="mirror", truncate=3)
    assert np.abs(blurred - expected).max() < 1.5


def test_noise_has_the_configured_standard_deviation() -> None:
    scenes = CorruptedDataset(SINGLE, CorruptionConfig(noise=0.2))[:200]
    empty = scenes.images[SINGLE[:200].images == 0].float()  # noise below black is lost
    assert float(empty.mean()) == pytest.approx(51 / math.sqrt(2 * math.pi), rel=0.02)
    assert float((empty**2).mean().sqrt()) == pytest.approx(51 / math.sqrt(2), rel=0.02)


def test_contrast_multiplies_pixels() -> None:
    plain, corrupted = SINGLE[:50].images, CorruptedDataset(SINGLE, CorruptionConfig(contrast=0.33))[:50].images
    assert torch.equal(corrupted, (plain * 0.33).round().to(torch.uint8))


def test_images_on_disk_can_be_blurred_but_digit_corruptions_raise(tmp_path: Path) -> None:
    for index, image in enumerate(SINGLE[:12].images[:, 0].numpy()):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    lines = [json.dumps({"image": f"{index}.png", "digits": [7]}) for index in range(12)]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    scenes = datasets.load(FolderConfig(path=str(tmp_path))).splits["val"]
    assert not torch.equal(CorruptedDataset(scenes, CorruptionConfig(blur=1))[:2].images, scenes[:2].images)
    with pytest.raises(ValueError, match=r"corruption\.rotation=15 is applied to digits before rendering") as error:
        CorruptedDataset(scenes, CorruptionConfig(rotation=15))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), [("rotation", -1), ("stroke", 1.1), ("blur", 6), ("noise", 2), ("contrast", 0)]
)
def test_out_of_range_corruptions_raise(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"corruption\.{key}={value} must lie in"):
        CorruptionConfig(**{key: value})
