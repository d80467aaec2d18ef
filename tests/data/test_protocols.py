"""MultiMNIST, cluttered sequences and multi-digit MNIST equal a slow, independent implementation of their protocols.

Pixel by pixel for the same draws, and in distribution over 20,000 scenes for independent draws.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.layouts import LAYOUTS, Layout
from tests.data import reference_protocols
from tests.data.preset_configs import pool, preset
from tests.data.reference_protocols import DIGIT

MULTI = ["multimnist_s4", "multimnist_s6"]
NUM_SCENES = 20_000
POOL = pool("train")
IMAGES, LABELS, CLUTTER = POOL.images.numpy(), POOL.labels.numpy(), POOL.clutter.numpy()
Values = NDArray[np.int64]


def same_distribution(ours: Values, theirs: Values) -> bool:
    """Test two samples: chi-square for at most 200 values, else Kolmogorov-Smirnov."""
    values = np.union1d(ours, theirs)
    if len(values) == 1:
        return True
    if len(values) > 200:
        return bool(stats.ks_2samp(ours, theirs).pvalue > 0.001)
    table = [[np.count_nonzero(sample == value) for value in values] for sample in (ours, theirs)]
    common = np.array(table)[:, np.sum(table, 0) >= 10]
    return bool(stats.chi2_contingency(common).pvalue > 0.001)


def test_the_distribution_test_detects_small_differences() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 9, NUM_SCENES), generator.integers(0, 9, NUM_SCENES)
    assert same_distribution(first, second)
    assert not same_distribution(first, np.where(generator.random(NUM_SCENES) < 0.1, 4, second))
    assert not same_distribution(generator.integers(0, 1000, NUM_SCENES), generator.integers(0, 1030, NUM_SCENES))


@pytest.mark.parametrize("name", MULTI)
def test_multimnist_equals_the_protocol_pixel_by_pixel(name: str) -> None:
    scenes = SyntheticDataset(preset(name), POOL)[:300]
    layout = LAYOUTS["overlap"](torch.arange(300), preset(name), POOL, 0)
    for image, indices, corners in zip(
        scenes.images[:, 0].numpy(), layout.indices.tolist(), layout.corners, strict=True
    ):
        (x1, y1), (x2, y2) = (corners - 4).tolist()
        draw = reference_protocols.MultiDraw((indices[0], indices[1]), ((x1, y1), (x2, y2)))
        np.testing.assert_array_equal(image, reference_protocols.render_multimnist(IMAGES, draw))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shift"), list(zip(MULTI, (4, 6), strict=True)))
def test_multimnist_equals_the_protocol_in_distribution(name: str, shift: int) -> None:
    """Pairs of classes, digits, shifts per axis and their difference between the two digits, sums of pixels."""
    generator = np.random.default_rng(1)
    draws = [reference_protocols.draw_multimnist(LABELS, generator, shift) for _ in range(NUM_SCENES)]
    theirs_indices = np.array([draw.digits for draw in draws])
    theirs_shifts = np.array([draw.shifts for draw in draws])
    theirs_sums = np.array([int(reference_protocols.render_multimnist(IMAGES, draw).sum()) for draw in draws])

    scenes = SyntheticDataset(preset(name), POOL)[:NUM_SCENES]
    layout = LAYOUTS["overlap"](torch.arange(NUM_SCENES), preset(name), POOL, 0)
    shifts = layout.corners.numpy() - 4
    pairs = np.sort(LABELS[theirs_indices], axis=1)
    assert same_distribution((scenes.digits[:, 0] * 10 + scenes.digits[:, 1]).numpy(), pairs[:, 0] * 10 + pairs[:, 1])
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert same_distribution(layout.indices.numpy().ravel(), theirs_indices.ravel())
    for axis in (0, 1):
        assert same_distribution(shifts[..., axis].ravel(), theirs_shifts[..., axis].ravel())
        distances = np.abs(np.diff(shifts[..., axis], axis=1)), np.abs(np.diff(theirs_shifts[..., axis], axis=1))
        assert same_distribution(*(distance.ravel() for distance in distances))
    assert same_distribution(shifts.prod(-1).ravel(), theirs_shifts.prod(-1).ravel()), "the axes are independent"
    assert same_distribution(scenes.images.flatten(1).sum(1).numpy(), theirs_sums)
    assert scenes.counts.tolist() == [2] * NUM_SCENES


def clutter_draws(num: int) -> list[reference_protocols.ClutterDraw]:
    generator = np.random.default_rng(1)
    return [reference_protocols.draw_cluttered(len(IMAGES), len(CLUTTER), generator) for _ in range(num)]


def test_cluttered_equals_the_protocol_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered from the draws of the reference; every range that is drawn from must be that of the protocol."""
    draws = clutter_draws(200)
    distractors = [draw.distractors for draw in draws]
    values = {
        "digit": [draw.digits for draw in draws],
        "begin": [[draw.start + 8] for draw in draws],
        "top": [[draw.top] for draw in draws],
        "slope": [[draw.slope + 14] for draw in draws],
        "fragment": [[it.digit for it in scene] for scene in distractors],
        "cut": [[value for it in scene for value in it.cut] for scene in distractors],
        "fragment place": [[value for it in scene for value in it.place] for scene in distractors],
    }
    monkeypatch.setattr("mnist_seq.data.rng.key", lambda seed, split, purpose: purpose)
    ranges = {"digit": len(IMAGES), "begin": 16, "top": 100, "slope": 28}
    ranges |= {"fragment": len(CLUTTER), "cut": 19, "fragment place": 91}

    def integers(purpose: str, ids: torch.Tensor, slots: int, high: int) -> torch.Tensor:
        assert high == ranges[purpose]
        return torch.tensor(values[purpose])[ids]

    monkeypatch.setattr("mnist_seq.data.rng.integers", integers)
    scenes = SyntheticDataset(preset("cluttered"), POOL)[:200]
    for image, draw, digits in zip(scenes.images[:, 0].numpy(), draws, scenes.digits.tolist(), strict=True):
        np.testing.assert_array_equal(image, reference_protocols.render_cluttered(IMAGES, CLUTTER, draw))
        assert digits == LABELS[list(draw.digits)].tolist()


@pytest.mark.slow
def test_cluttered_equals_the_protocol_in_distribution() -> None:
    """Digits, classes per slot, positions, slopes, sums of pixels, and ink per row and column."""
    draws = clutter_draws(NUM_SCENES)
    theirs = np.array([reference_protocols.positions(draw) for draw in draws])
    rendered = np.stack([reference_protocols.render_cluttered(IMAGES, CLUTTER, draw) for draw in draws])
    indices = np.array([draw.digits for draw in draws])

    scenes = SyntheticDataset(preset("cluttered"), POOL)[:NUM_SCENES]
    layout = LAYOUTS["cluttered"](torch.arange(NUM_SCENES), preset("cluttered"), POOL, 0)
    corners, images = layout.corners.numpy(), scenes.images[:, 0].numpy()
    assert same_distribution(layout.indices.numpy().ravel(), indices.ravel())
    for slot in range(3):
        assert same_distribution(scenes.digits[:, slot].numpy(), LABELS[indices[:, slot]])
        for axis in (0, 1):
            assert same_distribution(corners[:, slot, axis], theirs[:, slot, axis])
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert same_distribution(
            corners[:, second, 1] - corners[:, first, 1], theirs[:, second, 1] - theirs[:, first, 1]
        )
    assert same_distribution(images.sum((1, 2), dtype=np.int64), rendered.sum((1, 2), dtype=np.int64))
    for axis in (1, 2):
        for place in range(0, 100, 9):
            ours_ink, theirs_ink = (np.take(each, place, axis).sum(1, dtype=np.int64) for each in (images, rendered))
            assert same_distribution(ours_ink, theirs_ink)
    assert scenes.counts.tolist() == [3] * NUM_SCENES


@pytest.mark.parametrize("max_overlap", [0.4, 0.9])
def test_multidigit_equals_the_protocol_pixel_by_pixel(max_overlap: float) -> None:
    """Also where frames overlap by more than their blank edges, so that ink lies on ink."""
    config = preset("multidigit_mnist", "data/augment=none", f"data.max_overlap={max_overlap}")
    scenes = SyntheticDataset(config, POOL)[:300]
    layout = LAYOUTS["multidigit_mnist"](torch.arange(300), config, POOL, 0)
    for image, indices, corners, present in zip(scenes.images[:, 0].numpy(), *layout[:3], strict=True):
        count, x = int(present.sum()), corners[:, 0].tolist()
        overlap = DIGIT - (x[1] - x[0]) if count > 1 else 0
        padding = x[0] // (DIGIT - overlap)
        draw = reference_protocols.NumberDraw(indices[:count].tolist(), overlap, padding if count > 1 else 0)
        expected = reference_protocols.render_number(IMAGES, draw)
        np.testing.assert_array_equal(image, np.roll(expected, x[0], 1) if count == 1 else expected)


@pytest.mark.slow
def test_multidigit_equals_the_protocol_in_distribution() -> None:
    generator = np.random.default_rng(1)
    draws = [reference_protocols.draw_number(LABELS, generator) for _ in range(NUM_SCENES)]
    layout = multidigit_layout(NUM_SCENES)
    counts, x = layout.present.sum(1).numpy(), layout.corners[..., 0].numpy()
    lengths = np.array([len(draw.digits) for draw in draws])
    starts = np.array([draw.padding * (DIGIT - draw.overlap) for draw in draws])
    overlaps = np.array([draw.overlap for draw in draws])
    assert same_distribution(counts, lengths)
    for length in range(1, 6):
        assert same_distribution(x[counts == length, 0], starts[lengths == length])
    assert same_distribution(DIGIT - np.diff(x)[counts > 1, 0], overlaps[lengths > 1])
    classes = LABELS[layout.indices.numpy()]
    theirs = [LABELS[draw.digits] for draw in draws]
    assert same_distribution(classes[:, 0], np.array([it[0] for it in theirs]))
    assert same_distribution(classes[counts > 1, 1], np.array([it[1] for it in theirs if len(it) > 1]))
    assert same_distribution(layout.indices[:, 0].numpy(), np.array([draw.digits[0] for draw in draws]))
    sums = np.array([int(reference_protocols.render_number(IMAGES, draw).sum()) for draw in draws])
    scenes = SyntheticDataset(preset("multidigit_mnist", "data/augment=none"), POOL)[:NUM_SCENES]
    assert same_distribution(scenes.images.flatten(1).sum(1).numpy(), sums)


def multidigit_layout(num_scenes: int) -> Layout:
    return LAYOUTS["multidigit_mnist"](torch.arange(num_scenes), preset("multidigit_mnist"), POOL, 0)
