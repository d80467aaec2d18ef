"""Preprocessing finds what is written, on any paper, in any light and at any place, and cleans nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.data.digits import MNIST_SIZE
from mnist_seq.data.preprocess import Canvases, Preprocess
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


def preprocess(*pictures: Tensor, max_rows: int | None = 4, spec: Spec = LINE) -> Canvases:
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (1, 2))
    padded = torch.zeros(len(pictures), 4, height, width, dtype=torch.uint8)
    for plane, picture in zip(padded, pictures, strict=True):
        plane[:, : picture.shape[1], : picture.shape[2]] = picture
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    return Preprocess(spec, max_rows)(padded, sizes)


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
    assert found.present.tolist() == plain.present.tolist() == [[True, False, False, False]]
    torch.testing.assert_close(found.windows[0, 0], plain.windows[0, 0], atol=3, rtol=0)
    assert correlation(found.images[0, 0], plain.images[0, 0]) > 0.75


def test_punch_hole_beside_the_writing_changes_neither_its_height_nor_its_rows() -> None:
    punched = 0.95 - 0.8 * page()
    punched[120:135, 4:19] = 0.1
    found, plain = preprocess(rgba(punched)), preprocess(rgba(page()))
    assert torch.equal(found.present, plain.present)
    torch.testing.assert_close(found.windows[0, 0, 1::2], plain.windows[0, 0, 1::2], atol=4, rtol=0)


def test_window_follows_the_writing_to_any_place_and_size() -> None:
    """To within a pixel or two of the small copy, on which the writing is found."""
    large = torch.zeros(1200, 1600)
    write(large, [0, 1, 2, 3, 4], 700, 500, height=120)
    for picture, height in ((page(top=10, left=25), 60), (page(900, 500, 700, 60), 60), (large, 120)):
        x0, y0, x1, y1 = preprocess(rgba(picture)).windows[0, 0].tolist()
        rows, cols = picture.any(1).nonzero(), picture.any(0).nonzero()
        assert x0 < cols.min() < cols.max() < x1
        assert y0 < rows.min() < rows.max() < y1
        assert 1.2 < (y1 - y0) / height < 2


def test_rows_come_from_top_to_bottom_each_on_its_canvas() -> None:
    sheet = torch.zeros(420, 400)
    write(sheet, [5, 4, 3], 20, 60)
    write(sheet, [0, 1, 2, 3, 4], 150, 40)
    write(sheet, [2, 2], 290, 200)
    found = preprocess(rgba(1 - sheet))
    assert found.present.tolist() == [[True, True, True, False]]
    assert found.windows[0, :3, 1].diff().min() > 60
    expected = preprocess(rgba(page())).images[0, 0]
    assert correlation(found.images[0, 1], expected) > 0.85
    assert found.images[0, 3].max() == 0


def test_more_rows_than_asked_for_leave_those_with_the_most_ink() -> None:
    sheet = torch.zeros(420, 400)
    for top, digits in ((20, [5]), (150, [0, 1, 2, 3, 4]), (290, [2, 2, 3])):
        write(sheet, digits, top, 40)
    found = preprocess(rgba(sheet), max_rows=2)
    assert found.present.all()
    assert 130 < found.windows[0, 0, 1] < found.windows[0, 1, 1]


def test_picture_in_a_batch_gives_the_same_canvas_as_alone() -> None:
    pictures = [rgba(1 - page()), rgba(page(900, 500, 700, 60)), rgba(page(120, 380, 20, 20))]
    batch = preprocess(*pictures)
    for index, picture in enumerate(pictures):
        alone = preprocess(picture)
        assert torch.equal(alone.present[0], batch.present[index])
        torch.testing.assert_close(alone.images[0], batch.images[index], atol=2 / 255, rtol=0)


@pytest.mark.parametrize("grey", [0.0, 0.4, 1.0])
def test_paper_without_writing_has_no_rows(grey: float) -> None:
    noise = 0.01 * torch.randn(200, 300, generator=torch.Generator().manual_seed(1))
    for picture in (torch.full((200, 300), grey), grey + noise, grey * torch.linspace(0.5, 1, 300).expand(200, 300)):
        found = preprocess(rgba(picture))
        assert not found.present.any()
        assert found.images.max() == 0


def test_strokes_on_a_transparent_page_are_found_whatever_their_colour() -> None:
    expected = preprocess(rgba(page())).images[0, 0]
    for level in (0.0, 0.3, 0.8, 1.0):
        found = preprocess(rgba(torch.full((300, 400), level), alpha=page()))
        assert correlation(found.images[0, 0], expected) > 0.95


def test_transparent_margin_of_an_opaque_page_is_not_writing() -> None:
    alpha = torch.zeros(300, 400)
    alpha[20:290, 10:395] = 1
    found = preprocess(rgba(1 - page(), alpha=alpha))
    assert correlation(found.images[0, 0], preprocess(rgba(page())).images[0, 0]) > 0.95


def test_picture_of_the_canvas_size_is_levelled_and_not_cut() -> None:
    canvas = torch.zeros(28, 28)
    canvas[4:24, 6:20] = DIGITS[2][4:24, 6:20]
    spec = Spec(28, 28, 1, (1, 1))
    for picture in (canvas, 1 - canvas, 0.5 - 0.3 * canvas):
        found = preprocess(rgba(picture), max_rows=None, spec=spec)
        assert correlation(found.images[0, 0], canvas) > 0.99


def test_model_that_reads_rows_together_gets_one_canvas() -> None:
    sheet = torch.zeros(420, 400)
    write(sheet, [5, 4], 20, 60)
    write(sheet, [0, 1], 150, 60)
    found = preprocess(rgba(1 - sheet), max_rows=None, spec=Spec(96, 96, 4, (0, 0)))
    assert found.images.shape == (1, 1, 96, 96)
    rows = (found.images[0, 0] > 0.3).any(1)
    assert int((rows[1:] & ~rows[:-1]).sum()) + int(rows[0]) == 2
