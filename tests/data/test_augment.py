"""Distortions: each digit its own, bounded as asked, and no ink lost."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mnist_seq.config import AugmentConfig
from mnist_seq.data import augment
from mnist_seq.data.digits import MNIST_SIZE, ink_boxes
from mnist_seq.data.rng import DigitRng
from tests.data.preset_configs import pool

LIGHT = AugmentConfig(rotation=10, scale=0.1, shear=5, shift=1)
STRONG = AugmentConfig(rotation=15, scale=0.15, shear=10, shift=2, elastic=4, stroke=0.6, blur=0.6, noise=0.2)
WILD = AugmentConfig(rotation=60, scale=0.8, shear=40, shift=10, elastic=4, stroke=0.9, blur=1)
GLYPHS = pool("train").images[:300]


def draws(many: int = 300) -> DigitRng:
    return DigitRng(0, "train", torch.arange(many), slots=1)


def distorted(config: AugmentConfig, glyphs: torch.Tensor = GLYPHS) -> torch.Tensor:
    return augment.augment_digits(glyphs, ink_boxes(glyphs), draws(len(glyphs)), config)


@pytest.mark.parametrize("config", [LIGHT, STRONG, WILD], ids=["light", "strong", "wild"])
@pytest.mark.parametrize("side", [MNIST_SIZE, 41])
def test_distortion_keeps_all_ink_within_the_frame(config: AugmentConfig, side: int) -> None:
    """The same maps on a frame with room around it put no ink beyond the frame, and the same ink within."""
    glyphs, room = pool("train").resized(side).images[:300], 24
    boxes = ink_boxes(glyphs)
    pixels = glyphs.float()
    if config.stroke:
        pixels = augment.adjust_stroke_width(glyphs, (2 * draws().uniform("stroke", 1)[:, 0] - 1) * config.stroke)
        boxes = augment.expand_boxes(boxes, augment.stroke_radius(side), side)
    bent = wide_bent = None
    if config.elastic:
        bent = augment.elastic_displacement(draws().uniform("elastic", 98), side, config.elastic)
        wide_bent = F.pad(bent, (room,) * 4, mode="replicate")
    place = augment.sample_affine(boxes, draws().uniform("distort", 5), config, side, bent)
    wide = augment.affine_warp(F.pad(pixels, (room,) * 4), *place, wide_bent)
    if config.blur:
        deviation = draws().uniform("blur", 1)[:, 0] * config.blur * side / MNIST_SIZE
        wide = augment.gaussian_blur(wide, deviation, augment.blur_radius(side))
    wide = wide.round().int()
    middle = slice(room, room + side)
    inside = augment.augment_digits(glyphs, ink_boxes(glyphs), draws(), AugmentConfig(**(vars(config) | {"noise": 0})))
    assert not torch.equal(inside, glyphs)
    assert (wide[:, middle, middle] - inside).abs().max() <= 1
    wide[:, middle, middle] = 0
    assert wide.max() == 0


def test_a_distortion_of_nothing_changes_nothing() -> None:
    assert torch.equal(distorted(AugmentConfig()), GLYPHS)
    boxes, middle = ink_boxes(GLYPHS), torch.full((300, 5), 0.5)
    assert torch.equal(
        augment.affine_warp(GLYPHS, *augment.sample_affine(boxes, middle, LIGHT, MNIST_SIZE)).round().byte(), GLYPHS
    )


@pytest.mark.parametrize("key", ["rotation", "scale", "shear", "shift", "elastic", "stroke", "blur", "noise"])
def test_each_distortion_differs_from_digit_to_digit_and_is_bounded_by_its_key(key: str) -> None:
    same = GLYPHS[:1].expand(60, -1, -1)
    large, small = (distorted(AugmentConfig(**{key: amount}), same).float() for amount in (0.9, 0.02))
    assert len(large.flatten(1).unique(dim=0)) > 40
    change, less = ((each - same.float()).abs().mean() for each in (large, small))
    assert change > less
    assert less < 3


def test_a_share_of_the_digits_is_left_as_it_is_and_the_others_are_distorted_as_ever() -> None:
    some, all_ = distorted(replace(STRONG, p=0.75)), distorted(STRONG)
    left, changed = ((some == each).flatten(1).all(1) for each in (GLYPHS, all_))
    assert (left ^ changed).all()
    assert 0.15 < left.float().mean() < 0.35
    assert torch.equal(distorted(replace(STRONG, p=0)), GLYPHS)


def test_elastic_displacements_are_smooth_and_within_their_bound() -> None:
    bent = augment.elastic_displacement(draws().uniform("elastic", 98), MNIST_SIZE, 3)
    assert bent.abs().max() <= 3
    assert 0.5 < bent.std() < 1.2
    assert bent.mean().abs() < 0.05
    assert bent.diff(dim=-1).abs().max() < 0.8, "no neighbouring pixels part"
    assert torch.allclose(augment.elastic_displacement(torch.full((1, 98), 1.0), MNIST_SIZE, 3), torch.tensor(3.0)), (
        "splines weigh to 1"
    )


def test_strokes_grow_and_shrink_with_their_amount_and_never_vanish() -> None:
    amounts = torch.tensor([-0.9, -0.3, 0.0, 0.3, 0.9])
    ink = torch.stack([augment.adjust_stroke_width(GLYPHS, amount.expand(300)).sum((1, 2)) for amount in amounts])
    assert (ink.diff(dim=0) > 0).all()
    assert torch.equal(augment.adjust_stroke_width(GLYPHS, torch.zeros(300)), GLYPHS.float())
    thin = augment.adjust_stroke_width(GLYPHS, torch.full((300,), -0.9))
    assert torch.equal(thin > 0, GLYPHS > 0)


def test_blur_keeps_the_ink_and_is_gaussian() -> None:
    point = torch.zeros(1, MNIST_SIZE, MNIST_SIZE)
    point[0, 14, 14] = 1
    seen = augment.gaussian_blur(point, torch.tensor([0.8]), 2)
    assert torch.isclose(seen.sum(), torch.tensor(1.0))
    weights = torch.exp(-(torch.arange(-2, 3) ** 2) / (2 * 0.8**2))
    assert torch.allclose(seen[0, 14, 12:17], seen[0, 14, 14] * weights)
    assert torch.equal(augment.gaussian_blur(point, torch.tensor([0.0]), 2), point)


def test_noise_only_takes_ink_away_and_not_all_of_it() -> None:
    noisy = distorted(AugmentConfig(noise=0.5)).float()
    lost = 1 - (noisy / GLYPHS)[GLYPHS > 200]
    assert -0.01 <= lost.min() < 0.01
    assert 0.49 < lost.max() <= 0.51
    assert abs(lost.mean() - 0.25) < 0.01


@pytest.mark.parametrize("key", ["rotation", "scale", "shear", "shift", "elastic", "stroke", "blur", "noise"])
def test_amounts_out_of_range_are_refused(key: str) -> None:
    for amount in (-0.1, 1000):
        with pytest.raises(ValueError, match=rf"data.augment.{key}={amount} must lie in 0\.\."):
            AugmentConfig(**{key: amount})
