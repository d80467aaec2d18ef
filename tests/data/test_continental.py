"""Continental forms of digits: which digits are changed, and where their strokes are."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import mnist_seq
from mnist_seq.data import sources
from mnist_seq.data.continental import add_continental_forms, train_pool
from mnist_seq.data.digits import ink_boxes
from mnist_seq.data.strokes import draw_curves, draw_strokes
from tests.data.preset_configs import pool


def test_the_share_of_ones_and_sevens_and_half_of_it_of_others_is_changed() -> None:
    plain = pool("train")
    for share in (0.0, 0.4, 1.0):
        drawn = add_continental_forms(plain, share)
        changed = (drawn.images != plain.images).any(2).any(1)
        for label in range(10):
            expected = {1: share, 7: share, 3: 0, 6: 0, 8: 0}.get(label, share / 2)
            assert abs(float(changed[plain.labels == label].float().mean()) - expected) < 0.12
        strokes_only = (plain.labels == 1) | (plain.labels == 7)
        assert (drawn.images >= plain.images)[strokes_only].all()
        assert torch.equal(drawn.boxes, ink_boxes(drawn.images))


def test_a_form_is_drawn_within_its_frame_and_differs_from_image_to_image() -> None:
    plain = pool("train")
    drawn = add_continental_forms(plain, 1.0)
    changed = (drawn.images != plain.images).any(2).any(1)
    for label in (0, 2, 4, 5, 9):
        images = drawn.images[changed & (plain.labels == label)]
        boxes = ink_boxes(images)
        assert ((boxes[:, 3] - boxes[:, 1]) >= 8).all()
        edges = torch.cat([images[:, [0, -1]].flatten(1), images[:, :, [0, -1]].flatten(1)], 1)
        assert int((edges > 127).sum(1).max()) <= 4, "at most the end of one stroke leaves the frame"
        assert len(images.flatten(1).unique(dim=0)) == len(images)


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
            assert float((y_strokes - y_ink).median()) < -1
            assert (y_strokes < y_ink + 3).float().mean() > 0.95, "it ends no lower than the stem"
            assert (x_strokes < x_ink + 3).float().mean() > 0.95
        else:
            assert float((y_strokes - y_ink).median()) > 0
            left, right = (strokes * (index < x_strokes[:, None, None])).sum(), strokes.sum()
            assert 0.3 < float(left / right) < 0.7


def test_classes_that_are_no_digits_are_not_redrawn() -> None:
    source = dataclasses.replace(sources.load("uci"), name="kmnist")
    with pytest.raises(ValueError, match=r"data\.augment\.continental=0\.4 redraws digits, and kmnist has none: set"):
        train_pool(source, 0.4)
    assert train_pool(source, 0.0) is source.pools["train"]


def test_only_training_digits_are_changed() -> None:
    with_strokes, plain = (
        [
            mnist_seq.scenes("single", "data.digits=uci", f"data.augment.continental={share}", split=split)[:300].images
            for split in ("train", "val", "test")
        ]
        for share in (1.0, 0.0)
    )
    assert [torch.equal(*pair) for pair in zip(with_strokes, plain, strict=True)] == [False, True, True]


def test_a_curve_passes_through_its_points_and_a_straight_one_is_a_stroke() -> None:
    points = torch.tensor([[[4.5, 20.5], [10.5, 6.5], [20.5, 9.5], [23.5, 22.5]]])
    curve = draw_curves(points, torch.tensor([2.0]), 28)[0]
    for x, y in points[0].tolist():
        assert curve[int(y), int(x)] == 1
    straight = torch.tensor([[[4.0, 5.0], [11.0, 11.0], [18.0, 17.0]]])
    curve = draw_curves(straight, torch.tensor([2.0]), 28)
    assert (curve - draw_strokes(torch.tensor([[4.0, 5.0, 18.0, 17.0]]), torch.tensor([2.0]), 28)).abs().max() < 1e-3


def test_stroke_has_its_length_and_width() -> None:
    image = draw_strokes(torch.tensor([[4.0, 10.0, 20.0, 10.0]]), torch.tensor([3.0]), 28)[0]
    assert float(image[:, 12].sum()) == 3
    assert abs(float(image[9:11].mean(0).sum()) - (16 + 3)) < 0.5, "the ends are round"
