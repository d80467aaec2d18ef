"""MultiMNIST and the cluttered sequences against an independent, slow reading of their protocols.

Pixel by pixel where both draw the same, and in distribution on 20,000 scenes where each draws its own.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.layouts import LAYOUTS
from tests.data import reference_protocols
from tests.data.preset_configs import pool, preset

MULTI = ["multimnist_s4", "multimnist_s6"]
MANY = 20_000
POOL = pool("train")
IMAGES, LABELS, CLUTTER = POOL.images.numpy(), POOL.labels.numpy(), POOL.clutter.numpy()
Values = NDArray[np.int64]


def alike(ours: Values, theirs: Values) -> bool:
    """Whether two samples may come from one distribution: chi-square for few values, else Kolmogorov-Smirnov."""
    values = np.union1d(ours, theirs)
    if len(values) == 1:
        return True
    if len(values) > 200:
        return bool(stats.ks_2samp(ours, theirs).pvalue > 0.001)
    table = [[np.count_nonzero(sample == value) for value in values] for sample in (ours, theirs)]
    common = np.array(table)[:, np.sum(table, 0) >= 10]
    return bool(stats.chi2_contingency(common).pvalue > 0.001)


def test_samples_that_differ_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 9, MANY), generator.integers(0, 9, MANY)
    assert alike(first, second)
    assert not alike(first, np.where(generator.random(MANY) < 0.1, 4, second))
    assert not alike(generator.integers(0, 1000, MANY), generator.integers(0, 1030, MANY))


@pytest.mark.parametrize("name", MULTI)
def test_multimnist_is_the_protocol_pixel_by_pixel(name: str) -> None:
    scenes = SyntheticDataset(preset(name), POOL)[:300]
    layout = LAYOUTS["overlap"](torch.arange(300), preset(name), POOL, 0)
    for image, chosen, corners in zip(
        scenes.images[:, 0].numpy(), layout.indices.tolist(), layout.corners, strict=True
    ):
        (x1, y1), (x2, y2) = (corners - 4).tolist()
        draw = reference_protocols.MultiDraw((chosen[0], chosen[1]), ((x1, y1), (x2, y2)))
        np.testing.assert_array_equal(image, reference_protocols.render_multimnist(IMAGES, draw))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shift"), list(zip(MULTI, (4, 6), strict=True)))
def test_multimnist_is_the_protocol_in_distribution(name: str, shift: int) -> None:
    """Classes of both digits together, the digits, shifts on both axes and of both digits together, sums of pixels."""
    generator = np.random.default_rng(1)
    draws = [reference_protocols.draw_multimnist(LABELS, generator, shift) for _ in range(MANY)]
    theirs_chosen = np.array([draw.digits for draw in draws])
    theirs_shifts = np.array([draw.shifts for draw in draws])
    theirs_sums = np.array([int(reference_protocols.render_multimnist(IMAGES, draw).sum()) for draw in draws])

    scenes = SyntheticDataset(preset(name), POOL)[:MANY]
    layout = LAYOUTS["overlap"](torch.arange(MANY), preset(name), POOL, 0)
    shifts = layout.corners.numpy() - 4
    pairs = np.sort(LABELS[theirs_chosen], axis=1)
    assert alike((scenes.digits[:, 0] * 10 + scenes.digits[:, 1]).numpy(), pairs[:, 0] * 10 + pairs[:, 1])
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert alike(layout.indices.numpy().ravel(), theirs_chosen.ravel())
    for axis in (0, 1):
        assert alike(shifts[..., axis].ravel(), theirs_shifts[..., axis].ravel())
        apart = np.abs(np.diff(shifts[..., axis], axis=1)), np.abs(np.diff(theirs_shifts[..., axis], axis=1))
        assert alike(*(each.ravel() for each in apart))
    assert alike(shifts.prod(-1).ravel(), theirs_shifts.prod(-1).ravel()), "the axes are independent"
    assert alike(scenes.images.flatten(1).sum(1).numpy(), theirs_sums)
    assert scenes.counts.tolist() == [2] * MANY


def clutter_draws(many: int) -> list[reference_protocols.ClutterDraw]:
    generator = np.random.default_rng(1)
    return [reference_protocols.draw_cluttered(len(IMAGES), len(CLUTTER), generator) for _ in range(many)]


def test_cluttered_scenes_are_the_protocol_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our drawing, made to draw what the reference drew; it asks for no more and no fewer values than that may have."""
    draws = clutter_draws(200)
    fragments = [draw.fragments for draw in draws]
    told = {
        "digit": [draw.digits for draw in draws],
        "begin": [[draw.start + 8] for draw in draws],
        "top": [[draw.top] for draw in draws],
        "slope": [[draw.slope + 14] for draw in draws],
        "fragment": [[it.digit for it in each] for each in fragments],
        "cut": [[value for it in each for value in it.cut] for each in fragments],
        "fragment place": [[value for it in each for value in it.place] for each in fragments],
    }
    monkeypatch.setattr("mnist_seq.data.rng.key", lambda seed, split, purpose: purpose)
    ranges = {"digit": len(IMAGES), "begin": 16, "top": 100, "slope": 28}
    ranges |= {"fragment": len(CLUTTER), "cut": 19, "fragment place": 91}

    def integers(purpose: str, ids: torch.Tensor, slots: int, below: int) -> torch.Tensor:
        assert below == ranges[purpose]
        return torch.tensor(told[purpose])[ids]

    monkeypatch.setattr("mnist_seq.data.rng.integers", integers)
    scenes = SyntheticDataset(preset("cluttered"), POOL)[:200]
    for image, draw, digits in zip(scenes.images[:, 0].numpy(), draws, scenes.digits.tolist(), strict=True):
        np.testing.assert_array_equal(image, reference_protocols.render_cluttered(IMAGES, CLUTTER, draw))
        assert digits == LABELS[list(draw.digits)].tolist()


@pytest.mark.slow
def test_cluttered_scenes_are_the_protocol_in_distribution() -> None:
    """Digits, classes at each place, positions, steps of the slope, sums of pixels, and ink of each row and column."""
    draws = clutter_draws(MANY)
    theirs = np.array([reference_protocols.positions(draw) for draw in draws])
    rendered = np.stack([reference_protocols.render_cluttered(IMAGES, CLUTTER, draw) for draw in draws])
    chosen = np.array([draw.digits for draw in draws])

    scenes = SyntheticDataset(preset("cluttered"), POOL)[:MANY]
    layout = LAYOUTS["cluttered"](torch.arange(MANY), preset("cluttered"), POOL, 0)
    corners, images = layout.corners.numpy(), scenes.images[:, 0].numpy()
    assert alike(layout.indices.numpy().ravel(), chosen.ravel())
    for slot in range(3):
        assert alike(scenes.digits[:, slot].numpy(), LABELS[chosen[:, slot]])
        for axis in (0, 1):
            assert alike(corners[:, slot, axis], theirs[:, slot, axis])
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert alike(corners[:, second, 1] - corners[:, first, 1], theirs[:, second, 1] - theirs[:, first, 1])
    assert alike(images.sum((1, 2), dtype=np.int64), rendered.sum((1, 2), dtype=np.int64))
    for axis in (1, 2):
        for place in range(0, 100, 9):
            ours_ink, theirs_ink = (np.take(each, place, axis).sum(1, dtype=np.int64) for each in (images, rendered))
            assert alike(ours_ink, theirs_ink)
    assert scenes.counts.tolist() == [3] * MANY
