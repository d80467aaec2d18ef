"""Scenes are functions of (seed, split, id), and their ground truth agrees with their pixels."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_seq import vocabulary
from mnist_seq.config import DataConfig, GridConfig, SingleConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.digits import MNIST_SIZE
from mnist_seq.data.layouts import LAYOUTS
from mnist_seq.data.marks import mark_images
from mnist_seq.data.render import SceneBatch
from tests.data.preset_configs import PRESETS, STRONG, pool, preset


def equal(one: SceneBatch, other: SceneBatch) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def select(batch: SceneBatch, rows: list[int]) -> SceneBatch:
    return SceneBatch(*(tensor[rows] for tensor in batch))


@pytest.mark.parametrize("name", PRESETS)
def test_scene_is_the_same_alone_in_a_batch_and_in_any_order(name: str) -> None:
    config = preset(name, *STRONG)
    scenes = SyntheticDataset(config, pool("train"), seed=5)
    batch = scenes[:40]
    assert equal(select(batch, [13]), scenes[13])
    assert equal(select(batch, [19, 0, 37]), scenes.render([19, 0, 37]))
    assert equal(batch, SyntheticDataset(config, pool("train"), seed=5)[:40]), "no state is kept"
    assert not torch.equal(batch.sources, SyntheticDataset(config, pool("train"), seed=6)[:40].sources)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", PRESETS)
def test_gpu_renders_the_same_scene(name: str) -> None:
    """All integers and unaugmented images are equal, augmented images within one grey level."""
    for overrides, tolerance in ((("data/augment=none",), 0), (STRONG, 1)):
        scenes = SyntheticDataset(preset(name, *overrides, "data/corruptions=none"), pool("train"))
        cpu, gpu = scenes.render(torch.arange(300)), scenes.render(torch.arange(300), "cuda").to("cpu")
        for field in ("digits", "tokens", "cells", "counts", "sources"):
            assert torch.equal(getattr(cpu, field), getattr(gpu, field))
        assert (cpu.images.int() - gpu.images.int()).abs().max() <= tolerance


@pytest.mark.parametrize(
    ("name", "overrides"), [*((name, ()) for name in PRESETS), ("overlap", ("data.shift=13",))], ids=str
)
def test_ground_truth_agrees_with_the_pixels(name: str, overrides: tuple[str, ...]) -> None:
    """Digits, tokens, counts, boxes and sources agree with each other and with an image drawn pixel by pixel."""
    config, test_pool = preset(name, *overrides), pool("test")
    ids, spec = torch.arange(7, 67), config.spec
    scenes = SyntheticDataset(config, test_pool).render(ids)
    layout = LAYOUTS[config.family](ids, config, test_pool, 0)
    pool_index = {int(source): index for index, source in enumerate(test_pool.source_indices)}
    assert scenes.images.shape == (60, 1, spec.height, spec.width)
    assert scenes.digits.shape == (60, spec.max_length)
    for row in range(60):
        count = int(scenes.counts[row])
        expected = torch.zeros(spec.height, spec.width, dtype=torch.int64)
        if layout.distractors is not None:
            for source, crop, (left, top), present in zip(*(part[row] for part in layout.distractors), strict=True):
                x, y = crop.tolist()
                if present:
                    expected[top : top + 9, left : left + 9] = test_pool.clutter[source, y : y + 9, x : x + 9]
        for slot in range(count):
            index = pool_index[int(scenes.sources[row, slot])]
            assert scenes.digits[row, slot] == test_pool.labels[index]
            left, top = layout.corners[row, slot].tolist()
            x0, y0, x1, y1 = spec.width, spec.height, 0, 0
            for down in range(MNIST_SIZE):
                for right in range(MNIST_SIZE):
                    y, x, grey = top + down, left + right, int(test_pool.images[index, down, right])
                    if grey and 0 <= y < spec.height and 0 <= x < spec.width:
                        total = max(int(expected[y, x]), grey) if layout.take_maximum else int(expected[y, x]) + grey
                        expected[y, x] = total
                        x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x + 1), max(y1, y + 1)
            assert scenes.boxes[row, slot].tolist() == [x0, y0, x1, y1]
        marks = torch.zeros_like(expected)
        for index, (left, top), present in zip(*(part[row] for part in layout.marks or ()), strict=True):
            for down, right in (present * mark_images(MNIST_SIZE)[index]).nonzero().tolist():
                y, x = int(top) + down, int(left) + right
                if 0 <= y < spec.height and 0 <= x < spec.width:
                    marks[y, x] += int(mark_images(MNIST_SIZE)[index, down, right])
        assert torch.equal(scenes.images[row, 0].long(), expected.maximum(marks).clamp(max=255)), "no other ink"
        assert (scenes.digits[row, count:] == vocabulary.PAD).all()
        assert (scenes.sources[row, count:] == -1).all()
        assert (scenes.boxes[row, count:] == 0).all()
    assert torch.equal(scenes.tokens, vocabulary.encode(scenes.digits))


@given(rows=st.integers(1, 3), cols=st.integers(1, 3), empty=st.sampled_from([0.0, 0.5]), first=st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_grid_cells_contain_the_digits_in_raster_order(rows: int, cols: int, empty: float, first: int) -> None:
    scenes = SyntheticDataset(GridConfig(rows=rows, cols=cols, p_empty=empty), pool("test")).render([first, first + 1])
    for cells, digits, boxes in zip(scenes.cells, scenes.digits, scenes.boxes, strict=True):
        filled = [cell for cell in range(rows * cols) if cells[cell] != vocabulary.EMPTY_CELL]
        assert cells[filled].tolist() == digits[: len(filled)].tolist()
        for cell, (x0, y0, x1, y1) in zip(filled, boxes.tolist(), strict=False):
            assert (
                (x0 // MNIST_SIZE, y0 // MNIST_SIZE)
                == ((x1 - 1) // MNIST_SIZE, (y1 - 1) // MNIST_SIZE)
                == (cell % cols, cell // cols)
            )


def test_no_digit_image_is_in_two_splits() -> None:
    indices = {split: set(pool(split).source_indices.tolist()) for split in ("train", "val", "test")}
    assert sum(map(len, indices.values())) == len(set.union(*indices.values())) == 1797
    for name in PRESETS:
        for split, allowed in indices.items():
            assert set(SyntheticDataset(preset(name), pool(split))[:200].sources.flatten().tolist()) - {-1} <= allowed


def test_distractors_are_never_cut_from_test_digits() -> None:
    for split in ("train", "val", "test"):
        assert len(pool(split).clutter) == 1797 - 300
    test = {image.numpy().tobytes() for image in pool("test").images}
    assert not any(image.numpy().tobytes() in test for image in pool("test").clutter)


def test_cells_are_empty_with_probability_p_empty() -> None:
    cells = SyntheticDataset(GridConfig(p_empty=0.3), pool("train"))[:5000].cells
    assert abs((cells == vocabulary.EMPTY_CELL).float().mean() - 0.3) < 0.015


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_only_training_scenes_are_augmented(split: str) -> None:
    plain, strong = (
        SyntheticDataset(preset("scatter", *overrides), pool(split))[:10].images for overrides in ((), STRONG)
    )
    none = SyntheticDataset(preset("scatter", "data/augment=none"), pool(split))[:10].images
    assert torch.equal(plain, none) == torch.equal(strong, none) == (split != "train")


@pytest.mark.parametrize("overrides", [("data/augment=none",), (*STRONG, "data.augment.p=0")], ids=str)
def test_augmentation_that_changes_no_digit_is_not_computed(
    overrides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_seq.data.augment.augment_images", lambda *_: pytest.fail("computed for nothing"))
    SyntheticDataset(preset("cluttered", *overrides), pool("train"))[:8]


def test_distractors_are_augmented_as_digits_are() -> None:
    """Otherwise a model could tell them apart by the augmentation."""
    fading = ("data/augment=none", "data.augment.noise=0.5", "data.augment.p=0.8")  # moves no ink, takes 1 in 5
    faded, plain = (
        SyntheticDataset(preset("cluttered", *overrides), pool("train"))[:200]
        for overrides in (fading, ("data/augment=none",))
    )
    bare = SyntheticDataset(preset("cluttered", "data/augment=none", "data.num_distractors=0"), pool("train"))[:200]
    digits, distractors = bare.images > 0, (bare.images == 0) & (plain.images > 0)
    for mask in (digits & (plain.images == bare.images), distractors):
        ratio = faded.images[mask].float().sum() / plain.images[mask].float().sum()
        assert abs(ratio - 0.8) < 0.01


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "multimnist_s6"])
def test_boxes_contain_the_ink_of_augmented_digits(name: str) -> None:
    clean = (
        "data/corruptions=none",
        *(f"data.{key}=0" for key in ("p_mark", "p_final_mark", "p_scrawl") if name == "line"),
    )
    scenes = SyntheticDataset(preset(name, *STRONG, *clean), pool("train"))[:100]
    undistorted = SyntheticDataset(preset(name, "data/augment=none", *clean), pool("train"))[:100]
    assert not torch.equal(scenes.images, undistorted.images)
    in_boxes = torch.zeros_like(scenes.images, dtype=torch.bool)
    for row, count in enumerate(scenes.counts.tolist()):
        for x0, y0, x1, y1 in scenes.boxes[row, :count].tolist():
            assert x1 > x0
            assert y1 > y0
            in_boxes[row, 0, y0:y1, x0:x1] = True
    if preset(name).family != "cluttered":
        assert (scenes.images[~in_boxes] == 0).all()


def test_larger_digit_size_scales_the_same_layout() -> None:
    small, large = (
        SyntheticDataset(GridConfig(digit_size=size), pool("test"))[:20] for size in (MNIST_SIZE, 2 * MNIST_SIZE)
    )
    assert large.images.shape == (20, 1, 112, 112)
    assert torch.equal(small.digits, large.digits)
    assert (large.boxes - 2 * small.boxes).abs().max() <= 3
    half = torch.nn.functional.avg_pool2d(large.images.float(), 2)
    assert (half - small.images).abs().mean() < 6


def test_fixed_training_split_is_finite_and_the_same_in_every_run() -> None:
    from mnist_seq.data import datasets

    config = dataclasses.replace(preset("single"), num_train_scenes=50)
    one, other = (datasets.load(config, seed).splits["train"] for seed in (0, 1))
    assert len(one) == one.scenes_per_epoch == 50
    assert one.fixed
    assert equal(one[:50], other[:50])
    fresh = [datasets.load(preset("single"), seed).splits["train"][:50] for seed in (0, 1)]
    assert not equal(*fresh)


def test_dataset_is_a_lazy_sequence() -> None:
    scenes = SyntheticDataset(SingleConfig(val_scenes=100), pool("val"))
    assert len(scenes) == 100
    assert equal(scenes[-1], scenes[99])
    assert len(scenes[95:200].images) == 5
    with pytest.raises(IndexError, match="scene 100 of 100"):
        scenes[100]
    assert len(SyntheticDataset(SingleConfig(), pool("train"))) > 10**9


@pytest.mark.parametrize("name", PRESETS)
def test_a_slice_without_scenes_is_an_empty_batch(name: str) -> None:
    dataset = SyntheticDataset(preset(name), pool("test"))
    for empty in (dataset[:0], dataset[5:2]):
        assert empty.images.shape == (0, *dataset[:1].images.shape[1:])
        assert empty.digits.shape == (0, *dataset[:1].digits.shape[1:])


def test_family_without_a_spec_raises() -> None:
    with pytest.raises(NotImplementedError):
        _ = DataConfig().spec
