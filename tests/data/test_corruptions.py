"""What scenes are put through changes pixels and nothing else."""

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
from mnist_seq.data.corruptions import CorruptedDataset
from mnist_seq.data.datasets import SyntheticDataset
from tests.data.preset_configs import pool, preset

EACH = {"rotation": 20, "stroke": 0.6, "blur": 1, "noise": 0.2, "contrast": 0.5}
SINGLE = SyntheticDataset(preset("single"), pool("test"))


@pytest.mark.parametrize("name", ["grid", "scatter", "cluttered", "multimnist_s4", "mixed"])
@pytest.mark.parametrize("key", EACH)
def test_the_scenes_are_the_same_but_for_what_is_seen(key: str, name: str) -> None:
    scenes = SyntheticDataset(preset(name), pool("test"))
    plain, seen = scenes[:40], CorruptedDataset(scenes, CorruptionConfig(**{key: EACH[key]}))[:40]
    for field in ("digits", "tokens", "cells", "counts", "sources"):
        assert torch.equal(getattr(seen, field), getattr(plain, field))
    shown = plain.counts > 0
    assert ((seen.images != plain.images).flatten(1).any(1) | ~shown).all()
    if key not in ("rotation", "stroke"):
        assert torch.equal(seen.boxes, plain.boxes)


def test_a_scene_is_disturbed_the_same_alone_and_in_a_batch() -> None:
    disturbed = CorruptedDataset(SINGLE, CorruptionConfig(**EACH))
    together = disturbed[:30].images
    assert torch.equal(together[[7]], disturbed[7].images)
    assert torch.equal(together[[20, 3]], disturbed.render([20, 3]).images)


def test_digits_are_turned_this_way_or_that() -> None:
    plain, turned = SINGLE[:200].images, CorruptedDataset(SINGLE, CorruptionConfig(rotation=90))[:200].images
    ways = [(turned == plain.rot90(quarter, (2, 3))).flatten(1).all(1) for quarter in (1, -1)]
    assert (ways[0] | ways[1]).all()
    assert 60 < ways[0].sum() < 140


def test_strokes_grow_and_shrink() -> None:
    ink = [
        CorruptedDataset(SINGLE, CorruptionConfig(stroke=amount))[:100].images.float().sum((1, 2, 3))
        for amount in (-0.8, 0.8)
    ]
    plain = SINGLE[:100].images.float().sum((1, 2, 3))
    assert (ink[0] < plain).all()
    assert (ink[1] > plain).all()


@pytest.mark.parametrize("key", ["rotation", "stroke"])
def test_fragments_are_changed_as_the_digits_are(key: str) -> None:
    """Else strokes would tell them from digits."""
    scenes = SyntheticDataset(preset("cluttered"), pool("test"))
    plain, seen = scenes[:40], CorruptedDataset(scenes, CorruptionConfig(**{key: EACH[key]}))[:40]
    aside = torch.ones(40, 100, 100, dtype=torch.bool)
    for scene, boxes in enumerate(torch.cat([plain.boxes, seen.boxes], 1).tolist()):
        for x0, y0, x1, y1 in boxes:
            aside[scene, y0:y1, x0:x1] = False
    ink = [float((each.images[:, 0] * aside).sum()) for each in (plain, seen)]
    assert ((plain.images != seen.images)[:, 0] & aside).flatten(1).any(1).all()
    assert key != "stroke" or ink[1] > 1.2 * ink[0]


def test_blur_is_a_gaussian() -> None:
    plain, blurred = (
        each[:20].images[:, 0].numpy() for each in (SINGLE, CorruptedDataset(SINGLE, CorruptionConfig(blur=1.5)))
    )
    expected = gaussian_filter(plain.astype(np.float64), (0, 1.5, 1.5), mode="mirror", truncate=3.3)
    assert np.abs(blurred - expected).max() < 1.5


def test_blur_is_as_wide_as_digits_are_large() -> None:
    large = SyntheticDataset(preset("single", "data.digit_size=56"), pool("test"))
    twice = CorruptedDataset(large, CorruptionConfig(blur=1))[:20].images[:, 0].numpy()
    expected = gaussian_filter(large[:20].images[:, 0].numpy().astype(np.float64), (0, 2, 2), mode="mirror", truncate=3)
    assert np.abs(twice - expected).max() < 1.5


def test_noise_has_the_deviation_that_is_asked_for() -> None:
    scenes = CorruptedDataset(SINGLE, CorruptionConfig(noise=0.2))[:200]
    empty = scenes.images[SINGLE[:200].images == 0].float()  # noise below black is lost
    assert float(empty.mean()) == pytest.approx(51 / math.sqrt(2 * math.pi), rel=0.02)
    assert float((empty**2).mean().sqrt()) == pytest.approx(51 / math.sqrt(2), rel=0.02)


def test_contrast_is_a_factor() -> None:
    plain, pale = SINGLE[:50].images, CorruptedDataset(SINGLE, CorruptionConfig(contrast=0.33))[:50].images
    assert torch.equal(pale, (plain * 0.33).round().to(torch.uint8))


def test_pictures_on_disk_can_be_blurred_but_their_digits_not_turned(tmp_path: Path) -> None:
    for place, image in enumerate(SINGLE[:12].images[:, 0].numpy()):
        Image.fromarray(image).save(tmp_path / f"{place}.png")
    lines = [json.dumps({"image": f"{place}.png", "digits": [7]}) for place in range(12)]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    scenes = datasets.load(FolderConfig(path=str(tmp_path))).splits["val"]
    assert not torch.equal(CorruptedDataset(scenes, CorruptionConfig(blur=1))[:2].images, scenes[:2].images)
    with pytest.raises(ValueError, match=r"corruption\.rotation=15 changes digits before they are placed") as refused:
        CorruptedDataset(scenes, CorruptionConfig(rotation=15))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"), [("rotation", -1), ("stroke", 1.1), ("blur", 6), ("noise", 2), ("contrast", 0)]
)
def test_what_makes_no_sense_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"corruption\.{key}={value} must lie in"):
        CorruptionConfig(**{key: value})
