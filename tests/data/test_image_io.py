"""Any kind of picture is the same ink; what may be several pictures is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_seq
from mnist_seq.data.image_io import load_image
from mnist_seq.errors import UserError


@pytest.fixture
def grey() -> np.ndarray:
    """A scene of real digits, H W, uint8, light on dark."""
    return mnist_seq.scenes("grid", "data.digits=uci", split="test")[3].images[0, 0].numpy()


def test_every_kind_of_picture_is_the_same_picture(grey: np.ndarray, tmp_path: Path) -> None:
    expected = torch.from_numpy(grey) / 255
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.png")
    Image.fromarray(255 - grey).save(tmp_path / "paper.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    clear = Image.new("RGBA", (56, 56), (0, 0, 0, 0))
    clear.putalpha(Image.fromarray(grey))
    pictures = [
        *(tmp_path / f"{name}.png" for name in ("grey", "colour", "paper", "deep")),
        str(tmp_path / "grey.png"),
        Image.fromarray(grey),
        clear,
        grey,
        255 - grey,
        grey[..., None],
        np.stack([grey] * 3, -1),
        grey.astype(np.float64) / 255,
        grey.astype(np.uint16),
        grey.astype(">u2"),
        grey.astype(np.uint16) * 257,
        Image.fromarray(grey.astype(np.float32) / 255),
        torch.from_numpy(grey),
        torch.from_numpy(grey)[None] / 255,
        1 - expected,
    ]
    for picture in pictures:
        torch.testing.assert_close(load_image(picture), expected, atol=0.005, rtol=0)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_contrast_of_every_bit_depth_survives(bits: int, grey: np.ndarray, tmp_path: Path) -> None:
    expected = torch.from_numpy(grey) / 255
    levels = (grey.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray(levels).save(tmp_path / "deep.tiff")
    for picture in (tmp_path / "deep.png", tmp_path / "deep.tiff", levels, torch.from_numpy(levels)):
        torch.testing.assert_close(load_image(picture), expected, atol=0.005, rtol=0)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_colours_of_16_bits_are_seen_though_only_the_lower_are_used(
    bits: int, grey: np.ndarray, tmp_path: Path
) -> None:
    levels = np.stack([grey.astype(np.uint32) * (2**bits - 1) // 255] * 3, -1)
    (tmp_path / "colour.png").write_bytes(png_of_16_bits(levels))
    step = 1 / (2 ** (bits - 8) - 1)  # Pillow keeps the upper 8 bits
    torch.testing.assert_close(load_image(tmp_path / "colour.png"), torch.from_numpy(grey) / 255, atol=step, rtol=0)


def test_colours_of_16_bits_of_which_nothing_is_kept_are_refused(grey: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "colour.png").write_bytes(png_of_16_bits(np.stack([grey] * 3, -1)))
    with pytest.raises(
        UserError, match="colour.png is not a readable image: its colours of 16 bits are all darker than 256 of 65535"
    ):
        load_image(tmp_path / "colour.png")


def png_of_16_bits(levels: np.ndarray) -> bytes:
    """A colour picture as Pillow reads and does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def test_masks_of_whole_numbers_are_black_and_white(grey: np.ndarray, tmp_path: Path) -> None:
    mask = grey > 127
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "mask.png")
    for picture in (mask, mask.astype(np.uint8), mask.astype(np.int64), tmp_path / "mask.png", Image.fromarray(mask)):
        assert torch.equal(load_image(picture), torch.from_numpy(mask).float())


@pytest.mark.parametrize("level", [0, 130, 255])
def test_strokes_on_nothing_are_seen_whatever_their_colour(level: int, grey: np.ndarray, tmp_path: Path) -> None:
    strokes = Image.merge("LA", (Image.new("L", (56, 56), level), Image.fromarray(grey)))
    strokes.save(tmp_path / "strokes.png")
    strokes.convert("RGBA").save(tmp_path / "strokes.webp", lossless=True, exact=True)
    contrast = max(level, 255 - level) / 255
    for picture in (strokes, strokes.convert("RGBA"), np.array(strokes.convert("RGBA")), *tmp_path.glob("strokes.*")):
        torch.testing.assert_close(load_image(picture), torch.from_numpy(grey) / 255 * contrast, atol=0.01, rtol=0)


def test_strokes_of_several_colours_on_nothing_are_all_seen(grey: np.ndarray) -> None:
    for left, right in ((75, 226), (226, 75)):
        level = np.full((56, 56), left, np.uint8)
        level[:, 28:] = right
        seen = load_image(Image.merge("LA", (Image.fromarray(level), Image.fromarray(grey))))
        assert min(seen[:, :28].max(), seen[:, 28:].max()) > 0.25


@pytest.mark.parametrize("paper", [20, 235])
def test_a_page_with_transparent_corners_keeps_its_paper(paper: int, grey: np.ndarray) -> None:
    page = np.where(grey > 127, 255 - paper, paper).astype(np.uint8)
    there = np.full((56, 56), 255, np.uint8)
    there[:9, :9] = there[-9:, -9:] = 0
    whole, cut = Image.fromarray(page), Image.merge("LA", (Image.fromarray(page), Image.fromarray(there)))
    torch.testing.assert_close(load_image(cut)[9:47], load_image(whole)[9:47])
    assert float((load_image(cut)[:9, :9] - load_image(whole)[20, 0]).abs().max()) < 0.01, "the corners are paper"
    assert load_image(Image.new("LA", (56, 56), (paper, 0))).max() == 0, "nothing is to be seen"


@pytest.mark.parametrize("shape", [(3, 28, 28), (4, 28, 28), (3, 28, 3), (1, 28, 1), (1, 28, 3)])
def test_an_array_that_may_be_one_picture_or_several_is_refused_but_for_a_word(shape: tuple[int, ...]) -> None:
    for picture in (np.zeros(shape, np.uint8), torch.zeros(shape)):
        with pytest.raises(UserError, match=r'give channels="first".* for one, list\(x\) for several') as refused:
            load_image(picture)
        assert " ".join(map(str, shape)) in str(refused.value)
        assert load_image(picture, channels="first").shape == shape[1:]
    with pytest.raises(UserError, match="channels=middle is unknown: choose from first, last"):
        load_image(np.zeros(shape), channels="middle")


def test_a_file_of_several_pictures_is_refused(grey: np.ndarray, tmp_path: Path) -> None:
    for name in ("pages.tiff", "moving.gif", "moving.png"):
        Image.fromarray(grey).save(tmp_path / name, save_all=True, append_images=[Image.fromarray(255 - grey)])
        with pytest.raises(UserError, match=f"{name} holds 2 pictures: give one"):
            load_image(tmp_path / name)


def test_a_photo_is_read_as_the_camera_was_held(grey: np.ndarray, tmp_path: Path) -> None:
    turned = Image.fromarray(grey).transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    torch.testing.assert_close(load_image(tmp_path / "turned.png"), torch.from_numpy(grey) / 255)
