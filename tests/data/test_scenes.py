import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_seq import tokens
from mnist_seq.config import AugmentConfig, DataConfig, GridConfig, SingleConfig
from mnist_seq.data import augment, digits, rng
from mnist_seq.data.digits import SIDE, ink_boxes
from mnist_seq.data.scenes import Scenes, SceneSet

LIGHT = AugmentConfig(rotation=10, scale=0.1, shear=5, shift=1)
WILD = AugmentConfig(rotation=60, scale=0.8, shear=40, shift=10)
CONFIGS = [SingleConfig(augment=LIGHT), GridConfig(augment=LIGHT), GridConfig(rows=1, cols=3, empty=0.5, augment=WILD)]
POOLS = digits.load("uci").pools


def equal(one: Scenes, other: Scenes) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def at(scenes: Scenes, rows: list[int]) -> Scenes:
    return Scenes(*(part[rows] for part in scenes))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_scene_is_the_same_alone_in_a_batch_and_in_any_order(config: DataConfig, split: str) -> None:
    scenes = SceneSet(config, POOLS[split], seed=5)
    together = scenes[:20]
    assert equal(at(together, [13]), scenes[13])
    assert equal(at(together, [19, 0, 7]), scenes.render([19, 0, 7]))
    assert equal(scenes[:20], SceneSet(config, POOLS[split], seed=5)[:20]), "nothing is remembered"
    assert not torch.equal(together.sources, SceneSet(config, POOLS[split], seed=6)[:20].sources)


@given(rows=st.integers(1, 3), cols=st.integers(1, 3), empty=st.sampled_from([0.0, 0.5]), first=st.integers(0, 10**9))
@settings(max_examples=25, deadline=None)
def test_a_scene_tells_the_truth(rows: int, cols: int, empty: float, first: int) -> None:
    """Digits, cells, counts, boxes and sources agree with each other and with the pixels."""
    pool = POOLS["test"]
    scenes = SceneSet(GridConfig(rows=rows, cols=cols, empty=empty), pool).render(torch.arange(first, first + 4))
    assert scenes.images.shape == (4, 1, rows * SIDE, cols * SIDE)
    place = {int(index): at for at, index in enumerate(pool.indices)}
    for image, row, cells, count, boxes, sources in zip(
        scenes.images[:, 0], scenes.digits, scenes.cells, scenes.counts, scenes.boxes, scenes.sources, strict=True
    ):
        filled = [cell for cell in range(rows * cols) if cells[cell] != tokens.EMPTY]
        assert len(filled) == count == (row < tokens.DIGITS).sum()
        seen = torch.zeros_like(image)
        for slot, cell in enumerate(filled):
            top, left = cell // cols * SIDE, cell % cols * SIDE
            at = place[int(sources[slot])]
            assert row[slot] == cells[cell] == pool.labels[at]
            seen[top : top + SIDE, left : left + SIDE] = pool.images[at]
            x0, y0, x1, y1 = boxes[slot].tolist()
            inked = image[top : top + SIDE, left : left + SIDE].nonzero()
            assert [x0 - left, y0 - top] == [inked[:, 1].min(), inked[:, 0].min()]
            assert [x1 - left, y1 - top] == [inked[:, 1].max() + 1, inked[:, 0].max() + 1]
        assert torch.equal(image, seen), "no ink but that of the digits"
        assert (row[count:] == tokens.PAD).all()
        assert (sources[count:] == -1).all()
        assert (boxes[count:] == 0).all()
    assert torch.equal(scenes.tokens, tokens.encode(scenes.digits))


def test_no_digit_is_in_two_splits() -> None:
    indices = [set(pool.indices.tolist()) for pool in POOLS.values()]
    assert sum(map(len, indices)) == len(set.union(*indices)) == 1797
    for split, pool in POOLS.items():
        shown = SceneSet(GridConfig(), pool)[:500].sources
        assert set(shown.flatten().tolist()) <= set(POOLS[split].indices.tolist())


def test_cells_are_empty_as_often_as_asked() -> None:
    cells = SceneSet(GridConfig(empty=0.3), POOLS["train"])[:5000].cells
    assert abs((cells == tokens.EMPTY).float().mean() - 0.3) < 0.015


def test_only_training_scenes_are_distorted() -> None:
    plain = GridConfig()
    for split, pool in POOLS.items():
        same = torch.equal(
            SceneSet(plain, pool)[:10].images, SceneSet(dataclasses.replace(plain, augment=WILD), pool)[:10].images
        )
        assert same == (split != "train")


@pytest.mark.parametrize("config", [LIGHT, WILD], ids=["light", "wild"])
def test_distortion_keeps_all_ink_within_the_frame(config: AugmentConfig) -> None:
    """The same maps on a frame with room around it put no ink beyond the frame, and the same ink within."""
    glyphs, room = POOLS["train"].images[:300], 20
    draws = rng.uniform(rng.key(0, "test"), torch.arange(300), augment.DRAWS)
    boxes = ink_boxes(glyphs)
    inside = augment.distort(glyphs, boxes, draws, config)
    assert not torch.equal(inside, glyphs)
    wide = augment.warp(F.pad(glyphs, (room,) * 4), *augment.placement(boxes, draws, config, SIDE)).int()
    middle = slice(room, room + SIDE)
    assert (wide[:, middle, middle] - inside).abs().max() <= 1
    wide[:, middle, middle] = 0
    assert wide.max() == 0


def test_distortion_at_its_middle_changes_nothing() -> None:
    glyphs = POOLS["train"].images[:50]
    middle = torch.full((50, augment.DRAWS), 0.5)
    assert torch.equal(augment.distort(glyphs, ink_boxes(glyphs), middle, WILD), glyphs)


def test_each_digit_is_distorted_in_its_own_way() -> None:
    glyphs = POOLS["train"].images[:1].expand(50, -1, -1)
    draws = rng.uniform(rng.key(0, "test"), torch.arange(50), augment.DRAWS)
    distorted = augment.distort(glyphs, ink_boxes(glyphs), draws, LIGHT)
    assert len(distorted.flatten(1).unique(dim=0)) > 45


def test_a_set_is_a_lazy_sequence() -> None:
    scenes = SceneSet(SingleConfig(val_scenes=100), POOLS["val"])
    assert len(scenes) == 100
    assert equal(scenes[-1], scenes[99])
    assert len(scenes[95:200].images) == 5
    with pytest.raises(IndexError, match="scene 100 of 100"):
        scenes[100]
    assert len(SceneSet(SingleConfig(), POOLS["train"])) > 10**9
