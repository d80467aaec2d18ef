"""Preprocessing finds what is written, on any paper, in any light and at any place, and cleans nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.data.digits import MNIST_SIZE
from mnist_seq.data.preprocess import Canvases, Preprocess, pad_pictures
from mnist_seq.data.row_detection import MAX_ROWS
from tests.data.preset_configs import pool

LINE = Spec(32, 256, 12, (0, 0))
DIGITS = pool("test").images[[3, 11, 25, 40, 57, 70]].float() / 255


def write(page: Tensor, digits: list[int], top: int, left: int, height: int = 60) -> None:
    """Draw digits side by side on a page, light on dark; H W."""
    for index, digit in enumerate(digits):
        size = round(height * MNIST_SIZE / 20)
        ink = torch.nn.functional.interpolate(DIGITS[digit][None, None], (size, size), mode="bilinear")[0, 0]
        x = left + index * round(0.9 * height)
        area = page[top : top + size, x : x + size]
        area.copy_(torch.maximum(area, ink[: area.shape[0], : area.shape[1]]))


def page(height: int = 300, width: int = 400, top: int = 90, left: int = 40) -> Tensor:
    written = torch.zeros(height, width)
    write(written, [0, 1, 2, 3, 4], top, left)
    return written


def rgba(grey: Tensor, alpha: Tensor | None = None) -> Tensor:
    channels = [grey.clamp(0, 1)] * 3 + [torch.ones_like(grey) if alpha is None else alpha]
    return (255 * torch.stack(channels)).round().to(torch.uint8)


def preprocess(*pictures: Tensor, spec: Spec = LINE) -> Canvases:
    return Preprocess(spec)(*pad_pictures(pictures))


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


def variants() -> dict[str, Tensor]:
    """The same writing under conditions that must not change what is found."""
    ink = page()
    y, x = torch.meshgrid(torch.linspace(0, 1, 300), torch.linspace(0, 1, 400), indexing="ij")
    noise = 0.03 * torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    border = torch.full((300, 400), 0.0)
    border[8:-8, 8:-8] = 1
    desk = torch.where((x > 0.05) & (x < 0.97) & (y > 0.2), 0.9 - 0.8 * ink, 0.35)
    framed = (0.95 - 0.8 * ink) * border
    return {
        "dark on light": 1 - ink,
        "grey paper, pale ink": 0.6 - 0.15 * ink,
        "uneven light": (0.95 - 0.8 * ink) * (1 - 0.6 * x),
        "edge of a shadow": (0.95 - 0.8 * ink) * (1 - 0.4 * (x + 0.2 * y > 0.5).float()),
        "noise": 0.9 - 0.7 * ink + noise,
        "black border": framed,
        "a desk around the paper": desk,
        "ruled line below": torch.where((y * 300 > 184) & (y * 300 < 187), 0.3, 0.95 - 0.8 * ink),
    }


@pytest.mark.parametrize("name", variants())
def test_canvas_does_not_depend_on_paper_light_or_what_lies_around(name: str) -> None:
    plain, found = preprocess(rgba(page())), preprocess(rgba(variants()[name]))
    assert found.picture.tolist() == plain.picture.tolist() == [0]
    torch.testing.assert_close(found.windows[0], plain.windows[0], atol=3, rtol=0)
    assert correlation(found.images[0], plain.images[0]) > 0.75


def test_punch_hole_beside_the_writing_changes_neither_its_height_nor_its_rows() -> None:
    punched = 0.95 - 0.8 * page()
    punched[120:135, 4:19] = 0.1
    found, plain = preprocess(rgba(punched)), preprocess(rgba(page()))
    assert found.picture.tolist() == plain.picture.tolist() == [0]
    torch.testing.assert_close(found.windows[0, 1::2], plain.windows[0, 1::2], atol=4, rtol=0)


def test_row_of_one_thin_digit_is_found_beside_a_long_one() -> None:
    sheet = torch.zeros(400, 900)
    write(sheet, [1] * 12, 60, 20)
    for column in (40, 450, 860):
        below = sheet.clone()
        below[240:300, column : column + 8] = 1
        assert preprocess(rgba(1 - below)).picture.tolist() == [0, 0]


def test_rows_that_are_not_read_are_counted() -> None:
    sheet = torch.zeros(900, 300)
    for count in range(1, MAX_ROWS + 3):
        write(sheet, [0, 2], 85 * count - 75, 20, height=40)
        found = preprocess(rgba(1 - sheet))
        assert len(found.images) == min(count, MAX_ROWS)
        assert found.num_omitted.tolist() == [max(0, count - MAX_ROWS)] * len(found.images)


def test_window_follows_the_writing_to_any_place_and_size() -> None:
    """To within a pixel or two of the small copy, on which the writing is found."""
    large = torch.zeros(1200, 1600)
    write(large, [0, 1, 2, 3, 4], 700, 500, height=120)
    for picture, height in ((page(top=10, left=25), 60), (page(900, 500, 700, 60), 60), (large, 120)):
        x0, y0, x1, y1 = preprocess(rgba(picture)).windows[0].tolist()
        rows, cols = picture.any(1).nonzero(), picture.any(0).nonzero()
        assert x0 < cols.min() < cols.max() < x1
        assert y0 < rows.min() < rows.max() < y1
        assert 1.2 < (y1 - y0) / height < 2


@pytest.mark.parametrize("thickness", [5, 15, 30, 45])
def test_bold_strokes_are_found_as_thin_ones_are(thickness: int) -> None:
    """Up to a seventh of the picture's side."""
    sheet = torch.zeros(300, 320)
    sheet[50:250, 100 : 100 + thickness] = sheet[50 : 50 + thickness, 100:220] = 1
    found = preprocess(rgba(1 - sheet))
    assert found.picture.tolist() == [0]
    x0, y0, x1, y1 = found.windows[0].tolist()
    assert x0 < 105 < 215 < x1
    assert y0 < 50 < 250 < y1


def test_shapes_as_tall_as_digits_are_counted_and_others_are_not() -> None:
    sheet = page()
    assert preprocess(rgba(1 - sheet)).num_shapes.tolist() == [5]
    sheet[165:172, 320:327] = 1  # a point
    sheet[130:136, 340:370] = 1  # a dash
    assert preprocess(rgba(1 - sheet)).num_shapes.tolist() == [5]
    write(sheet, [2, 0], 220, 90, height=50)
    assert preprocess(rgba(1 - sheet)).num_shapes.tolist() == [5, 2]
    assert preprocess(rgba(1 - sheet), spec=Spec(96, 96, 4, (0, 0))).num_shapes.tolist() == [7]
    for digit in range(6):
        alone = torch.zeros(200, 200)
        write(alone, [digit], 60, 50, height=80)
        assert preprocess(rgba(1 - alone), spec=Spec(28, 28, 1, (1, 1))).num_shapes.tolist() == [1]


def test_rows_come_from_top_to_bottom_each_on_its_canvas() -> None:
    sheet = torch.zeros(420, 400)
    write(sheet, [5, 4, 3], 20, 60)
    write(sheet, [0, 1, 2, 3, 4], 150, 40)
    write(sheet, [2, 2], 290, 200)
    found = preprocess(rgba(1 - sheet))
    assert found.picture.tolist() == [0, 0, 0]
    assert found.windows[:, 1].diff().min() > 60
    assert correlation(found.images[1], preprocess(rgba(page())).images[0]) > 0.85


def test_more_rows_than_are_read_leave_those_with_the_most_ink() -> None:
    sheet = torch.zeros(1100, 400)
    for index in range(11):
        write(sheet, [0, 1, 2, 3, 4][: 1 if index in (0, 4, 7) else 5], 10 + 98 * index, 10)
    found = preprocess(rgba(sheet))
    assert found.picture.tolist() == [0] * 8
    tops = [98 * index for index in range(11) if index not in (0, 4, 7)]
    torch.testing.assert_close(found.windows[:, 1], torch.tensor(tops).float(), atol=30, rtol=0)


def test_picture_in_a_batch_gives_the_same_canvas_as_alone() -> None:
    two_rows = page(500, 390, 30, 20)
    write(two_rows, [4, 2], 250, 90)
    pictures = [rgba(1 - page()), rgba(two_rows), rgba(page(900, 500, 700, 60)), rgba(page(120, 380, 20, 20))]
    batch = preprocess(*pictures)
    assert batch.picture.tolist() == [0, 1, 1, 2, 3]
    for index, picture in enumerate(pictures):
        alone = preprocess(picture)
        torch.testing.assert_close(alone.images, batch.images[batch.picture == index], atol=2 / 255, rtol=0)


def blanks() -> dict[str, Tensor]:
    """Pages without writing, 400x600."""
    y, x = torch.meshgrid(torch.linspace(0, 0.67, 400), torch.linspace(0, 1, 600), indexing="ij")
    noise = torch.randn(400, 600, generator=torch.Generator().manual_seed(1))
    return {
        "white": torch.ones(400, 600),
        "grey": torch.full((50, 50), 0.4),
        "noise": 0.8 + 0.04 * noise,
        "noise in the dark": 0.1 + 0.03 * noise,
        "noise on a small picture": 0.8 + 0.03 * noise[:40, :60],
        "coarse noise": 0.6 + 0.12 * noise,
        "light from the side": 0.95 - 0.5 * x,
        "light from very near": 0.95 - 0.9 * x,
        "light from the corner": 0.95 - 0.3 * x - 0.3 * y,
        "light in the middle": 0.9 - 0.6 * ((x - 0.5) ** 2 + (y - 0.33) ** 2),
        "light and noise": 0.9 - 0.4 * x + 0.03 * noise,
    }


@pytest.mark.parametrize("name", blanks())
def test_paper_without_writing_gives_a_black_canvas_in_any_light(name: str) -> None:
    for polarity in (blanks()[name], 1 - blanks()[name]):
        found = preprocess(rgba(polarity))
        assert found.images.shape == (1, 32, 256)
        assert found.images.max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 20000), (20000, 1), (3, 9000), (29, 28), (1, 28)])
@pytest.mark.parametrize("spec", [LINE, Spec(28, 28, 1, (1, 1)), Spec(56, 56, 4, (2, 2)), Spec(8, 8, 1, (1, 1))])
def test_pictures_of_extreme_shape_give_canvases(shape: tuple[int, int], spec: Spec) -> None:
    for picture in (torch.zeros(shape), torch.eye(*shape), torch.rand(shape)):
        images = preprocess(rgba(picture), spec=spec).images
        assert images.shape[1:] == (spec.height, spec.width)
        assert 0 <= images.min() <= images.max() <= 1


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=3, max_dims=3, min_side=4, max_side=40)))
def test_any_pixels_give_canvases(pixels: np.ndarray) -> None:
    found = preprocess(torch.from_numpy(pixels[:4].copy()))
    assert found.images.shape == (len(found.picture), 32, 256)
    assert 0 <= found.images.min() <= found.images.max() <= 1
    assert found.windows.isfinite().all()


def test_digits_on_one_canvas_get_their_trained_height_if_they_fit() -> None:
    for height in (40, 60, 100):
        for digit_size in (14, 28):
            sheet = torch.zeros(420, 400)
            write(sheet, [3], 40, 60, height)
            image = preprocess(rgba(1 - sheet), spec=Spec(96, 96, 4, (0, 0), digit_size=digit_size)).images[0]
            rows = (image > 0.3).any(1).nonzero()
            assert int(rows.max() - rows.min()) + 1 == pytest.approx(digit_size * 20 / 28, rel=0.15)


def test_strokes_on_a_transparent_page_are_found_whatever_their_colour() -> None:
    expected = preprocess(rgba(page())).images[0]
    for level in (0.0, 0.3, 0.8, 1.0):
        found = preprocess(rgba(torch.full((300, 400), level), alpha=page()))
        assert correlation(found.images[0], expected) > 0.95


def test_transparent_margin_of_an_opaque_page_is_not_writing() -> None:
    alpha = torch.zeros(300, 400)
    alpha[20:290, 10:395] = 1
    found = preprocess(rgba(1 - page(), alpha=alpha))
    assert correlation(found.images[0], preprocess(rgba(page())).images[0]) > 0.95


def test_scene_on_black_is_not_changed_at_all() -> None:
    for spec in (LINE, Spec(96, 96, 4, (0, 0)), Spec(28, 28, 1, (1, 1))):
        generator = torch.Generator().manual_seed(0)
        scene = torch.rand(spec.height, spec.width, generator=generator) * 0.7
        scene[torch.rand(scene.shape, generator=generator) < 0.8] = 0
        pixels = rgba(scene)
        assert torch.equal((255 * preprocess(pixels, spec=spec).images[0]).round().to(torch.uint8), pixels[0])
        torch.testing.assert_close(preprocess(rgba(1 - scene), spec=spec).images[0], scene, atol=1 / 255, rtol=0)


def test_picture_of_the_canvas_size_is_levelled_and_not_cut() -> None:
    canvas = torch.zeros(28, 28)
    canvas[4:24, 6:20] = DIGITS[2][4:24, 6:20]
    spec = Spec(28, 28, 1, (1, 1))
    for picture in (canvas, 1 - canvas, 0.5 - 0.3 * canvas):
        found = preprocess(rgba(picture), spec=spec)
        assert correlation(found.images[0], canvas) > 0.99


def test_model_that_reads_rows_together_gets_one_canvas() -> None:
    sheet = torch.zeros(420, 400)
    write(sheet, [5, 4], 20, 60)
    write(sheet, [0, 1], 150, 60)
    found = preprocess(rgba(1 - sheet), spec=Spec(96, 96, 4, (0, 0)))
    assert found.images.shape == (1, 96, 96)
    rows = (found.images[0] > 0.3).any(1)
    assert int((rows[1:] & ~rows[:-1]).sum()) + int(rows[0]) == 2
