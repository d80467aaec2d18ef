"""Continental ones and sevens: which digits get a stroke, and where it is."""

from __future__ import annotations

import torch

import mnist_seq
from mnist_seq.data.continental import add_continental_forms
from mnist_seq.data.digits import ink_boxes
from mnist_seq.data.strokes import draw_strokes
from tests.data.preset_configs import pool


def test_only_the_share_of_ones_and_sevens_is_changed_and_nothing_loses_ink() -> None:
    plain = pool("train")
    for share in (0.0, 0.4, 1.0):
        drawn = add_continental_forms(plain, share)
        changed = (drawn.images != plain.images).any(2).any(1)
        assert not changed[(plain.labels != 1) & (plain.labels != 7)].any()
        for label in (1, 7):
            assert abs(float(changed[plain.labels == label].float().mean()) - share) < 0.12
        assert (drawn.images >= plain.images).all()
        assert torch.equal(drawn.boxes, ink_boxes(drawn.images))


def test_a_larger_share_keeps_the_strokes_of_a_smaller_one() -> None:
    plain = pool("train")
    few, many = (add_continental_forms(plain, share) for share in (0.3, 0.7))
    changed = (few.images != plain.images).any(2).any(1)
    assert torch.equal(few.images[changed], many.images[changed])


def test_upstroke_is_left_of_the_top_and_crossbar_crosses_the_stem() -> None:
    plain = pool("train")
    drawn = add_continental_forms(plain, 1.0)
    added = (drawn.images.int() - plain.images.int()).clamp(min=0).float()
    index = torch.arange(28.0)
    for label in (1, 7):
        ink, strokes = plain.images[plain.labels == label].float(), added[plain.labels == label]
        x_ink, x_strokes = ((it.sum(1) * index).sum(1) / it.sum((1, 2)).clamp(min=1) for it in (ink, strokes))
        y_ink, y_strokes = ((it.sum(2) * index).sum(1) / it.sum((1, 2)).clamp(min=1) for it in (ink, strokes))
        if label == 1:
            assert (y_strokes < y_ink).float().mean() > 0.95
            assert (x_strokes < x_ink + 3).float().mean() > 0.95
        else:
            assert float((y_strokes - y_ink).median()) > 0
            left, right = (strokes * (index < x_strokes[:, None, None])).sum(), strokes.sum()
            assert 0.3 < float(left / right) < 0.7


def test_only_training_digits_get_strokes() -> None:
    with_strokes, plain = (
        [
            mnist_seq.scenes("single", "data.digits=uci", f"data.augment.continental={share}", split=split)[:300].images
            for split in ("train", "val", "test")
        ]
        for share in (1.0, 0.0)
    )
    assert [torch.equal(*pair) for pair in zip(with_strokes, plain, strict=True)] == [False, True, True]


def test_stroke_has_its_length_and_width() -> None:
    image = draw_strokes(torch.tensor([[4.0, 10.0, 20.0, 10.0]]), torch.tensor([3.0]), 28)[0]
    assert float(image[:, 12].sum()) == 3
    assert abs(float(image[9:11].mean(0).sum()) - (16 + 3)) < 0.5, "the ends are round"
