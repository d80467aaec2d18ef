"""Augmentation: independent for each digit, bounded by the config, and no ink leaves the frame."""

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
DIGITS = pool("train").images[:300]


def digit_rng(num_digits: int = 300) -> DigitRng:
    return DigitRng(0, "train", torch.arange(num_digits))


def augmented(config: AugmentConfig, images: torch.Tensor = DIGITS) -> torch.Tensor:
    return augment.augment_images(images, ink_boxes(images), digit_rng(len(images)), config, images.shape[-1])


@pytest.mark.parametrize("config", [LIGHT, STRONG, WILD], ids=["light", "strong", "wild"])
@pytest.mark.parametrize("side", [MNIST_SIZE, 41])
def test_augmentation_keeps_all_ink_inside_the_frame(config: AugmentConfig, side: int) -> None:
    """The same maps on a frame with a border put no ink into the border, and the same ink into the frame."""
    images, border = pool("train").resized(side).images[:300], 24
    boxes = ink_boxes(images)
    pixels = images.float()
    if config.stroke:
        amount, radius = (2 * digit_rng().uniform("stroke", 1)[:, 0] - 1) * config.stroke, augment.scale_radius(1, side)
        pixels = augment.adjust_stroke_width(images, amount, radius)
        boxes = augment.expand_boxes(boxes, radius, side, side)
    displacement = wide_displacement = None
    if config.elastic:
        amount = config.elastic * side / MNIST_SIZE
        displacement = augment.elastic_displacement(digit_rng().uniform("elastic", 98), side, side, amount)
        wide_displacement = F.pad(displacement, (border,) * 4, mode="replicate")
    affine = augment.sample_affine(boxes, digit_rng().uniform("distort", 5), config, (side, side), side, displacement)
    wide = augment.affine_warp(F.pad(pixels, (border,) * 4), *affine, wide_displacement)
    if config.blur:
        sigma = digit_rng().uniform("blur", 1)[:, 0] * config.blur * side / MNIST_SIZE
        wide = augment.gaussian_blur(wide, sigma, augment.scale_radius(augment.BLUR_RADIUS, side))
    wide = wide.round().int()
    middle = slice(border, border + side)
    narrow = augment.augment_images(
        images, ink_boxes(images), digit_rng(), AugmentConfig(**(vars(config) | {"noise": 0})), side
    )
    assert not torch.equal(narrow, images)
    assert (wide[:, middle, middle] - narrow).abs().max() <= 1
    wide[:, middle, middle] = 0
    assert wide.max() == 0


def test_a_picture_is_augmented_as_a_digit_is_whatever_its_width() -> None:
    """A digit in the middle of a wide picture is warped as in its own frame, as long as it fits into it."""
    margin, small = 40, F.pad(DIGITS[:, ::2, ::2], (7, 7, 7, 7))
    wide = F.pad(small, (margin, margin))
    config = AugmentConfig(rotation=20, scale=0.2, shear=10, stroke=0.5, blur=0.5)
    pictures = augment.augment_images(wide, ink_boxes(wide), digit_rng(), config, MNIST_SIZE)
    assert (pictures[:, :, margin:-margin].int() - augmented(config, small).int()).abs().max() <= 1
    assert not pictures[:, :, :margin].any()


def test_zero_augmentation_changes_nothing() -> None:
    assert torch.equal(augmented(AugmentConfig()), DIGITS)
    boxes, uniforms = ink_boxes(DIGITS), torch.full((300, 5), 0.5)
    affine = augment.sample_affine(boxes, uniforms, LIGHT, (MNIST_SIZE, MNIST_SIZE), MNIST_SIZE)
    assert torch.equal(augment.affine_warp(DIGITS, *affine).round().byte(), DIGITS)


@pytest.mark.parametrize("key", ["rotation", "scale", "shear", "shift", "elastic", "stroke", "blur", "noise"])
def test_each_augmentation_differs_between_digits_and_grows_with_its_key(key: str) -> None:
    same = DIGITS[:1].expand(60, -1, -1)
    large, small = (augmented(AugmentConfig(**{key: amount}), same).float() for amount in (0.9, 0.02))
    assert len(large.flatten(1).unique(dim=0)) > 40
    large_change, small_change = ((images - same.float()).abs().mean() for images in (large, small))
    assert large_change > small_change
    assert small_change < 3


def test_p_leaves_a_share_of_digits_unchanged_and_augments_the_others_as_before() -> None:
    some, all_ = augmented(replace(STRONG, p=0.75)), augmented(STRONG)
    unchanged, changed = ((some == images).flatten(1).all(1) for images in (DIGITS, all_))
    assert (unchanged ^ changed).all()
    assert 0.15 < unchanged.float().mean() < 0.35
    assert torch.equal(augmented(replace(STRONG, p=0)), DIGITS)


def test_elastic_displacement_is_smooth_and_bounded() -> None:
    displacement = augment.elastic_displacement(digit_rng().uniform("elastic", 98), MNIST_SIZE, MNIST_SIZE, 3.0)
    assert displacement.abs().max() <= 3
    assert 0.5 < displacement.std() < 1.2
    assert displacement.mean().abs() < 0.05
    assert displacement.diff(dim=-1).abs().max() < 0.8, "neighbouring pixels stay together"
    largest = augment.elastic_displacement(torch.full((1, 98), 1.0), MNIST_SIZE, MNIST_SIZE, 3.0)
    assert torch.allclose(largest, torch.tensor(3.0)), "spline weights sum to 1"


def test_stroke_width_follows_its_amount_and_strokes_never_vanish() -> None:
    amounts = torch.tensor([-0.9, -0.3, 0.0, 0.3, 0.9])
    ink = torch.stack([augment.adjust_stroke_width(DIGITS, amount.expand(300), 1).sum((1, 2)) for amount in amounts])
    assert (ink.diff(dim=0) > 0).all()
    assert torch.equal(augment.adjust_stroke_width(DIGITS, torch.zeros(300), 1), DIGITS.float())
    thin = augment.adjust_stroke_width(DIGITS, torch.full((300,), -0.9), 1)
    assert torch.equal(thin > 0, DIGITS > 0)


def test_blur_preserves_total_ink_and_is_gaussian() -> None:
    point = torch.zeros(1, MNIST_SIZE, MNIST_SIZE)
    point[0, 14, 14] = 1
    blurred = augment.gaussian_blur(point, torch.tensor([0.8]), 2)
    assert torch.isclose(blurred.sum(), torch.tensor(1.0))
    weights = torch.exp(-(torch.arange(-2, 3) ** 2) / (2 * 0.8**2))
    assert torch.allclose(blurred[0, 14, 12:17], blurred[0, 14, 14] * weights)
    assert torch.equal(augment.gaussian_blur(point, torch.tensor([0.0]), 2), point)


def test_noise_removes_ink_but_never_all_of_it() -> None:
    noisy = augmented(AugmentConfig(noise=0.5)).float()
    lost = 1 - (noisy / DIGITS)[DIGITS > 200]
    assert -0.01 <= lost.min() < 0.01
    assert 0.49 < lost.max() <= 0.51
    assert abs(lost.mean() - 0.25) < 0.01


@pytest.mark.parametrize("key", ["rotation", "scale", "shear", "shift", "elastic", "stroke", "blur", "noise"])
def test_out_of_range_amounts_raise(key: str) -> None:
    for amount in (-0.1, 1000):
        with pytest.raises(ValueError, match=rf"data.augment.{key}={amount} must lie in 0\.\."):
            AugmentConfig(**{key: amount})
