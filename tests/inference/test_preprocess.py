"""Preprocessing keeps the ink and removes everything else: size, place, pen, paper and light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch import Tensor

import mnist_seq
from mnist_seq.data.image_io import load_image
from mnist_seq.inference.preprocess import MIN_CONTRAST, fit_to_canvas

FRAME, CANVAS = (28, 28), (96, 96)
NOISE = np.random.default_rng(0).normal(0, 1, (400, 600))


@pytest.fixture(scope="module")
def digits() -> list[np.ndarray]:
    """Ink of single digits, cropped; H W, uint8."""
    images = mnist_seq.scenes("single", "data.digits=uci", split="test")[:6].images[:, 0].numpy()
    return [image[np.ix_((image > 60).any(1), (image > 60).any(0))] for image in images]


def page(
    digit: np.ndarray, digit_height: int, at: tuple[int, int] = (60, 80), size: tuple[int, int] = (400, 600)
) -> np.ndarray:
    """A digit of a given height on a page, dark on light; H W, floats."""
    digit_width = round(digit_height * digit.shape[1] / digit.shape[0])
    ink = np.asarray(Image.fromarray(digit).resize((digit_width, digit_height), Image.Resampling.BICUBIC)) > 127
    paper = np.full(size, 0.9)
    paper[at[0] : at[0] + digit_height, at[1] : at[1] + digit_width] -= 0.7 * ink
    return paper


def fitted(image: np.ndarray, size: tuple[int, int] = FRAME) -> Tensor:
    return fit_to_canvas(torch.from_numpy(image.clip(0, 1)).float(), size)


def correlation(one: Tensor, other: Tensor) -> float:
    """Correlation at the best shift within a pixel, since the center of mass is rounded."""
    shifts = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return max(float(np.corrcoef(one.roll(shift, (0, 1)).flatten(), other.flatten())[0, 1]) for shift in shifts)


def extent(canvas: Tensor) -> tuple[int, int]:
    """Height and width of the ink."""
    rows, cols = (canvas > 0.3).any(1).nonzero(), (canvas > 0.3).any(0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(cols.max() - cols.min()) + 1


def test_image_of_the_canvas_size_is_unchanged() -> None:
    for image in (torch.rand(28, 28), torch.zeros(28, 28), torch.full((28, 28), 0.4)):
        assert torch.equal(fit_to_canvas(image, FRAME), image)


def test_canvas_does_not_depend_on_place_size_polarity_or_light(digits: list[np.ndarray]) -> None:
    down, right = np.mgrid[0:400, 0:600] / 600
    for digit in digits:
        plain = page(digit, 200)
        expected = fitted(plain)
        variants = {
            "elsewhere": page(digit, 200, (190, 400)),
            "larger": page(digit, 1000, (300, 500), (1500, 2000)),
            "smaller": page(digit, 100, (20, 30), (150, 180)),
            "negative": 1 - plain,
            "uneven light": plain * (1 - 0.6 * right),
            "uneven light on a negative": 1 - plain * (1 - 0.3 * right - 0.5 * down),
            "edge of a shadow": plain * (1 - 0.3 * (right > 0.45)),
            "grey paper": 0.4 + 0.15 * plain,
            "noise": plain + 0.05 * NOISE,
            "dirt": np.where((down * 600 > 380) & (right * 600 > 590), 0.2, plain),
        }
        for name, image in variants.items():
            assert correlation(fitted(image), expected) > 0.95, name


def test_digit_has_its_training_height_and_keeps_its_aspect_ratio(digits: list[np.ndarray]) -> None:
    for digit in digits:
        for digit_height in (40, 90, 300):
            image = page(digit, digit_height)
            height, width = extent(fitted(image, CANVAS))
            down, right = extent(torch.from_numpy(0.9 - image))
            assert height == pytest.approx(20, abs=1)
            assert width == pytest.approx(20 * right / down, abs=1.6)
    halved = fit_to_canvas(load_image(page(digits[0], 200)), (48, 48), digit_size=14)
    assert extent(halved)[0] == pytest.approx(10, abs=1)


def test_single_digit_is_centered_by_its_center_of_mass(digits: list[np.ndarray]) -> None:
    for digit in digits:
        canvas = fitted(page(digit, 200))
        for axis in (0, 1):
            mass = canvas.sum(1 - axis)
            assert float((mass * torch.arange(28)).sum() / mass.sum()) == pytest.approx(13.5, abs=0.8)


def test_several_digits_fill_the_canvas_and_keep_their_arrangement(digits: list[np.ndarray]) -> None:
    sheet = np.minimum(page(digits[0], 120, (40, 60)), page(digits[1], 120, (230, 330)))
    canvas = fitted(sheet, (56, 56))
    height, width = extent(canvas)
    assert max(height, width) == pytest.approx(48, abs=1)
    assert height / width == pytest.approx(310 / (270 + 120 * digits[1].shape[1] / digits[1].shape[0]), rel=0.1)
    row = np.minimum(page(digits[0], 80, (40, 60)), page(digits[1], 80, (40, 200)))
    assert extent(fitted(row, (96, 300)))[0] == pytest.approx(20, abs=1)


@pytest.mark.parametrize("pen", [2, 3, 6, 12])
def test_thin_strokes_are_thickened_to_training_width(pen: int) -> None:
    paper = np.full((400, 400), 0.95)
    paper[50:350, 200 : 200 + pen] = 0.1  # a one with a foot
    paper[350 - pen : 350, 150:250] = 0.1
    canvas = fitted(paper)
    upright = canvas[8:18].sum(1)  # the width of the stroke, pixels
    assert 1.6 < float(upright.min()) <= float(upright.max()) < 3.2
    assert float(canvas[8:18].amax(1).min()) > 0.8


def test_thick_strokes_stay_thick() -> None:
    paper = np.full((400, 400), 0.95)
    paper[50:350, 170:230] = 0.1
    assert float(fitted(paper)[8:18].sum(1).mean()) == pytest.approx(4, abs=0.3)


def test_blank_paper_gives_an_empty_canvas_in_any_light() -> None:
    down, right = np.mgrid[0:400, 0:600] / 600
    blanks = {
        "white": np.ones((400, 600)),
        "black": np.zeros((300, 20)),
        "grey": np.full((50, 50), 0.4),
        "noise": 0.8 + 0.04 * NOISE,
        "noise in the dark": 0.1 + 0.03 * NOISE,
        "noise, small": 0.8 + 0.03 * NOISE[:40, :60],
        "coarse noise": 0.6 + 0.12 * NOISE,
        "light from the side": 0.95 - 0.5 * right,
        "light from very near": 0.95 - 0.9 * right,
        "light from the corner": 0.95 - 0.3 * right - 0.3 * down,
        "light in the middle": 0.9 - 0.6 * ((right - 0.5) ** 2 + (down - 0.33) ** 2),
        "all of it": 0.9 - 0.4 * right + 0.03 * NOISE,
    }
    for name, image in blanks.items():
        for polarity in (image, 1 - image):
            assert fitted(polarity).max() == 0, name


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 20000), (20000, 1), (3, 9000), (29, 28), (1, 28)])
@pytest.mark.parametrize("size", [(28, 28), (56, 56), (32, 224), (8, 8)])
def test_images_of_extreme_aspect_ratio_give_a_canvas(shape: tuple[int, int], size: tuple[int, int]) -> None:
    for image in (torch.zeros(shape), torch.eye(*shape), torch.rand(shape)):
        canvas = fit_to_canvas(image, size)
        assert canvas.shape == size
        assert 0 <= canvas.min() <= canvas.max() <= 1


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_any_image_gives_a_canvas(image: np.ndarray) -> None:
    canvas = fit_to_canvas(load_image(image), (32, 48))
    assert canvas.shape == (32, 48)
    assert canvas.dtype == torch.float32
    assert 0 <= canvas.min() <= canvas.max() <= 1
    assert canvas.max() == 0 or canvas.max() > MIN_CONTRAST
