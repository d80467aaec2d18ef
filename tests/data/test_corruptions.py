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
from mnist_seq.data.corruptions import corrupt_scenes
from mnist_seq.data.datasets import CorruptedDataset, SyntheticDataset
from mnist_seq.data.digits import MNIST_SIZE, ink_boxes
from tests.data.preset_configs import pool, preset

CORRUPTIONS = {"rotation": 20, "stroke": 0.6, "blur": 1, "noise": 0.2, "contrast": 0.5, "print": 0.5, "light": 0.5}
CORRUPTIONS |= {"sharpen": 0.8}
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
    with pytest.raises(ValueError, match=r"corruptions\.rotation=15 is applied to digits before rendering") as error:
        CorruptedDataset(scenes, CorruptionConfig(rotation=15))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), [("rotation", -1), ("stroke", 1.1), ("blur", 6), ("noise", 2), ("contrast", 0)]
)
def test_out_of_range_corruptions_raise(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"corruptions\.{key}={value} must lie in"):
        CorruptionConfig(**{key: value})


@pytest.mark.parametrize("key", ["contrast", "print", "light", "blur", "noise"])
def test_random_amounts_lie_between_none_and_the_value(key: str) -> None:
    """Each scene differs from the clean one by less than it does under the full amount, and no two scenes alike."""
    scenes, amount = SyntheticDataset(preset("grid"), pool("test")), CORRUPTIONS[key]
    full, random = (
        CorruptedDataset(scenes, CorruptionConfig(**{key: amount, "random": is_random}))[:60].images.float()
        for is_random in (False, True)
    )
    change = [(it - scenes[:60].images).abs().sum((1, 2, 3)) for it in (full, random)]
    assert (change[1] <= change[0] + 60).all()
    shares = change[1] / change[0]
    assert float(shares.min()) < 0.2
    assert float(shares.max()) > 0.8


def test_crop_keeps_the_digits_in_their_boxes_and_scales_them_to_the_canvas() -> None:
    config = preset(
        "line", "data.p_mark=0", "data.p_final_mark=0", "data.p_empty=0", "data.max_digits=4", "data.bleed=0"
    )
    scenes = SyntheticDataset(config, pool("test"))
    cropped = CorruptedDataset(scenes, CorruptionConfig(crop=0.25))[:60]
    in_boxes = torch.zeros_like(cropped.images, dtype=torch.bool)
    for row, count in enumerate(cropped.counts.tolist()):
        boxes = cropped.boxes[row, :count]
        for x0, y0, x1, y1 in boxes.tolist():
            in_boxes[row, 0, max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
        height = int(boxes[:, 3].max() - boxes[:, 1].min())
        width = int(boxes[:, 2].max() - boxes[:, 0].min())
        assert height == pytest.approx(32 / 1.5, abs=1) or width > 200, "a margin of a quarter on both sides"
    assert (cropped.images[~in_boxes] == 0).all()
    assert torch.equal(cropped.digits, scenes[:60].digits)


def test_random_crop_never_cuts_the_ends_of_a_line() -> None:
    scenes = SyntheticDataset(preset("line", "data.p_empty=0"), pool("test"))
    cropped = CorruptedDataset(scenes, CorruptionConfig(crop=0.6, random=True))[:200]
    present = torch.arange(12) < cropped.counts[:, None]
    assert cropped.boxes[..., 0].masked_fill(~present, 99).min() >= 0
    assert cropped.boxes[..., 2].max() <= 256
    widths = (cropped.boxes[..., 2] - cropped.boxes[..., 0])[present]
    assert float((widths == 0).float().mean()) < 0.01


@pytest.mark.parametrize("is_random", [False, True])
def test_crop_does_not_tell_whether_ink_is_a_digit(is_random: bool) -> None:
    """Else a model would tell from the scale of scrawls, not from their shape, that they are no digits."""
    config = CorruptionConfig(crop=0.5, shear=20, stretch=0.3, random=is_random)
    ids = torch.arange(40)
    batch = SyntheticDataset(preset("line", "data.p_empty=0.5", "data.p_scrawl=1"), pool("test")).render(ids)
    without = batch._replace(boxes=torch.zeros_like(batch.boxes), counts=torch.zeros_like(batch.counts))
    cropped, same = (corrupt_scenes(it, ids, config, 0, "test", MNIST_SIZE) for it in (batch, without))
    assert torch.equal(cropped.images, same.images)
    heights = ink_boxes(cropped.images[:, 0])[:, [1, 3]].diff(dim=1)[batch.counts == 0]
    assert (heights > 8).any()


@pytest.mark.parametrize("is_random", [False, True])
def test_slanted_and_stretched_digits_stay_in_their_boxes_and_on_the_canvas(is_random: bool) -> None:
    marks = ("data.p_mark=0", "data.p_final_mark=0", "data.p_empty=0", "data.bleed=0", "data/corruptions=none")
    scenes = SyntheticDataset(preset("line", *marks), pool("test"))
    config = CorruptionConfig(crop=0.5, shear=30, stretch=0.4, random=is_random)
    changed, batch = CorruptedDataset(scenes, config)[:100], scenes[:100]
    in_boxes = torch.zeros_like(changed.images, dtype=torch.bool)
    for row, count in enumerate(changed.counts.tolist()):
        for x0, y0, x1, y1 in changed.boxes[row, :count].tolist():
            assert 0 <= x0 < x1 <= 256
            in_boxes[row, 0, max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True
    assert (changed.images[~in_boxes] == 0).all()
    assert torch.equal(changed.digits, batch.digits)


def test_shear_slants_upright_strokes_by_its_angle_to_either_side() -> None:
    """A column of ink between two rows of the canvas moves by their distance times the slope."""
    batch = SINGLE[:200]
    bar = torch.zeros(200, 1, 64, 64, dtype=torch.uint8)
    bar[:, :, 16:48, 30:34] = 255
    boxes = torch.tensor([30, 16, 34, 48]).expand(200, 1, 4)
    config = CorruptionConfig(crop=0.5, shear=20)
    images = corrupt_scenes(
        batch._replace(images=bar, boxes=boxes), torch.arange(200), config, 0, "test", MNIST_SIZE
    ).images[:, 0]
    columns = torch.arange(64.0)
    upper, lower = ((images[:, row] * columns).sum(1) / images[:, row].sum(1) for row in (20, 44))
    slopes = (upper - lower) / 24
    assert (slopes.abs() - math.tan(math.radians(20))).abs().max() < 0.03
    assert 60 < int((slopes > 0).sum()) < 140


def test_stretch_changes_the_ratio_of_width_to_height() -> None:
    batch, boxes = SINGLE[:200], torch.tensor([24, 24, 40, 40]).expand(200, 1, 4)
    square = torch.zeros(200, 1, 64, 64, dtype=torch.uint8)
    square[:, :, 24:40, 24:40] = 255
    changed = corrupt_scenes(
        batch._replace(images=square, boxes=boxes),
        torch.arange(200),
        CorruptionConfig(crop=0.5, stretch=0.5),
        0,
        "test",
        MNIST_SIZE,
    )
    width, height = (changed.boxes[:, 0, 2:] - changed.boxes[:, 0, :2]).float().unbind(1)
    ratios = width / height
    assert ((ratios - 1.5).abs().minimum((ratios - 1 / 1.5).abs()) < 0.08).all()
    assert 60 < int((ratios > 1).sum()) < 140


@pytest.mark.parametrize("key", ["shear", "stretch"])
def test_writing_is_not_moved_off_the_canvas(key: str) -> None:
    with pytest.raises(ValueError, match=rf"corruptions\.{key}=0\.5 would move digits off the canvas"):
        CorruptionConfig(**{key: 0.5})


def test_sharpening_steepens_edges_and_keeps_black_and_white() -> None:
    plain, sharp = SINGLE[:100].images, CorruptedDataset(SINGLE, CorruptionConfig(sharpen=1))[:100].images
    assert (sharp[plain == 0] == 0).all()
    assert (sharp[plain >= 250] == 255).all()
    grey = [float(((it > 40) & (it < 215)).float().mean()) for it in (plain, sharp)]
    assert grey[1] < 0.5 * grey[0]


def test_ruling_draws_lines_across_the_picture() -> None:
    blank = SyntheticDataset(preset("line", "data.p_empty=1", "data.p_scrawl=0", "data.p_final_mark=0"), pool("test"))
    ruled = CorruptedDataset(blank, CorruptionConfig(ruling=0.8))[:200].images[:, 0]
    has_upright, has_level = ((ruled > 60).all(axis).any(1) for axis in (1, 2))
    assert 0.65 < float(has_level.float().mean()) < 0.85, "up to two lines, each on half of the scenes"
    assert 0.1 < float(has_upright.float().mean()) < 0.28, "edges of boxes are rarer"
    ruled_faintly = (ruled > 10).all(2).any(1)
    assert not (has_upright & ~ruled_faintly).any(), "an upright line alone could be a 1"


def test_light_darkens_all_corners_alike() -> None:
    """What darkens a corner does not also say by how much."""
    blank = SyntheticDataset(preset("line", "data.p_empty=1", "data.p_scrawl=0", "data.p_final_mark=0"), pool("test"))
    lit = CorruptedDataset(blank, CorruptionConfig(light=0.5, random=True))[:4000].images[:, 0].float()
    corners = lit[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean(0)
    assert float(corners.max() / corners.min()) < 1.06, corners


def test_levels_undo_contrast_and_brightness() -> None:
    plain, level = SyntheticDataset(preset("grid"), pool("test")), CorruptionConfig(level=True)
    pale = CorruptedDataset(plain, CorruptionConfig(contrast=0.4, level=True))[:60].images.int()
    assert int((pale - CorruptedDataset(plain, level)[:60].images.int()).abs().max()) <= 4


def test_only_training_scenes_are_corrupted_by_the_data_config() -> None:
    photo = preset("grid", "data/corruptions=photo", "data/augment=none")
    for split, changed in (("train", True), ("val", False), ("test", False)):
        scenes = SyntheticDataset(photo, pool(split))[:20]
        clean = SyntheticDataset(preset("grid", "data/augment=none"), pool(split))[:20]
        assert torch.equal(scenes.images, clean.images) != changed
        assert torch.equal(scenes.digits, clean.digits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_corrupts_scenes_alike() -> None:
    scenes = SyntheticDataset(preset("line"), pool("train"))
    cpu, gpu = scenes.render(torch.arange(200)), scenes.render(torch.arange(200), "cuda").to("cpu")
    assert torch.equal(cpu.digits, gpu.digits)
    assert float((cpu.images.int() - gpu.images.int()).abs().float().mean()) < 1


@pytest.mark.parametrize("key", ["rotation", "stroke"])
def test_digit_corruption_that_would_be_ignored_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=rf"corruptions\.{key}=0\.5 cannot be drawn at random"):
        CorruptionConfig(**{key: 0.5, "random": True})
    with pytest.raises(
        ValueError, match=rf"data\.corruptions\.{key}=0\.5 has no effect in training: set data\.augment"
    ):
        preset("grid", f"data.corruptions.{key}=0.5")
