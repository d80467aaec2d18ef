"""Every kind of image gives the same pixels; an input that may be several images raises."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import mnist_seq
from mnist_seq.data.image_io import load_rgba
from mnist_seq.errors import UserError


@pytest.fixture
def grey() -> np.ndarray:
    """A scene of real digits, H W, uint8, light on dark."""
    return mnist_seq.scenes("grid", "data.digits=uci", split="test")[3].images[0, 0].numpy()


def load_grey(image: object, channels: str | None = None) -> Tensor:
    """Load an opaque grey image; H W, floats in [0, 1]."""
    red, green, blue, alpha = load_rgba(image, channels)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)
    assert alpha.min() == 255
    return red / 255


def test_every_kind_of_image_gives_the_same_pixels(grey: np.ndarray, tmp_path: Path) -> None:
    expected = torch.from_numpy(grey) / 255
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    images = [
        *(tmp_path / f"{name}.png" for name in ("grey", "colour", "deep")),
        str(tmp_path / "grey.png"),
        Image.fromarray(grey),
        grey,
        grey[..., None],
        np.stack([grey] * 3, -1),
        grey.astype(np.float64) / 255,
        grey.astype(np.uint16),
        grey.astype(">u2"),
        grey.astype(np.uint16) * 257,
        Image.fromarray(grey.astype(np.float32) / 255),
        torch.from_numpy(grey),
        torch.from_numpy(grey)[None] / 255,
    ]
    for image in images:
        torch.testing.assert_close(load_grey(image), expected, atol=0.005, rtol=0)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_contrast_survives_every_bit_depth(bits: int, grey: np.ndarray, tmp_path: Path) -> None:
    expected = torch.from_numpy(grey) / 255
    levels = (grey.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray(levels).save(tmp_path / "deep.tiff")
    for image in (tmp_path / "deep.png", tmp_path / "deep.tiff", levels, torch.from_numpy(levels)):
        torch.testing.assert_close(load_grey(image), expected, atol=0.005, rtol=0)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_16_bit_colours_that_use_only_the_lower_bits_are_scaled_up(bits: int, grey: np.ndarray, tmp_path: Path) -> None:
    levels = np.stack([grey.astype(np.uint32) * (2**bits - 1) // 255] * 3, -1)
    (tmp_path / "colour.png").write_bytes(png_of_16_bits(levels))
    step = 1 / (2 ** (bits - 8) - 1)  # Pillow keeps the upper 8 bits
    torch.testing.assert_close(load_grey(tmp_path / "colour.png"), torch.from_numpy(grey) / 255, atol=step, rtol=0)


def test_16_bit_colours_are_scaled_up_whatever_their_alpha(grey: np.ndarray, tmp_path: Path) -> None:
    alpha = np.where(np.arange(grey.shape[1]) < 5, 0, 65535) + 0 * grey.astype(np.int64)
    levels = np.stack([*[grey.astype(np.int64) * 4095 // 255] * 3, alpha], -1)
    (tmp_path / "colour.png").write_bytes(png_of_16_bits(levels))
    rgba = load_rgba(tmp_path / "colour.png")
    torch.testing.assert_close(rgba[0].int(), torch.from_numpy(grey).int(), atol=17, rtol=0)
    assert rgba[3].unique().tolist() == [0, 255]
    assert (rgba[3, :, :5] == 0).all()


def test_16_bit_colours_with_nothing_in_the_upper_bits_raise(grey: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "colour.png").write_bytes(png_of_16_bits(np.stack([grey] * 3, -1)))
    with pytest.raises(
        UserError, match="colour.png is not a readable image: its colours of 16 bits are all darker than 256 of 65535"
    ):
        load_grey(tmp_path / "colour.png")


def png_of_16_bits(levels: np.ndarray) -> bytes:
    """A colour image of a kind that Pillow reads but does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = levels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def test_integer_masks_are_black_and_white(grey: np.ndarray, tmp_path: Path) -> None:
    mask = grey > 127
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "mask.png")
    for image in (mask, mask.astype(np.uint8), mask.astype(np.int64), tmp_path / "mask.png", Image.fromarray(mask)):
        assert torch.equal(load_grey(image), torch.from_numpy(mask).float())


def test_transparency_is_kept_in_every_kind_of_image(grey: np.ndarray, tmp_path: Path) -> None:
    strokes = Image.merge("LA", (Image.new("L", (56, 56), 130), Image.fromarray(grey)))
    strokes.save(tmp_path / "strokes.png")
    strokes.convert("RGBA").save(tmp_path / "strokes.webp", lossless=True, exact=True)
    for image in (strokes, strokes.convert("RGBA"), np.array(strokes.convert("RGBA")), *tmp_path.glob("strokes.*")):
        pixels = load_rgba(image)
        assert pixels[:3].unique().tolist() == [130]
        assert torch.equal(pixels[3], torch.from_numpy(grey))


@pytest.mark.parametrize("shape", [(3, 28, 28), (4, 28, 28), (3, 28, 3), (1, 28, 1), (1, 28, 3)])
def test_ambiguous_array_raises_unless_channels_is_given(shape: tuple[int, ...]) -> None:
    for image in (np.zeros(shape, np.uint8), torch.zeros(shape)):
        with pytest.raises(UserError, match=r'pass channels="first".* for one image, list\(x\) for several') as error:
            load_grey(image)
        assert " ".join(map(str, shape)) in str(error.value)
        assert load_rgba(image, channels="first").shape == (4, *shape[1:])
    with pytest.raises(UserError, match="channels=middle is unknown: choose from first, last"):
        load_rgba(np.zeros(shape), channels="middle")


def test_file_of_several_frames_raises(grey: np.ndarray, tmp_path: Path) -> None:
    for name in ("pages.tiff", "moving.gif", "moving.png"):
        Image.fromarray(grey).save(tmp_path / name, save_all=True, append_images=[Image.fromarray(255 - grey)])
        with pytest.raises(UserError, match=f"{name} contains 2 frames: expected a single image"):
            load_grey(tmp_path / name)


def test_exif_orientation_is_applied(grey: np.ndarray, tmp_path: Path) -> None:
    rotated = Image.fromarray(grey).transpose(Image.Transpose.ROTATE_90)
    exif = rotated.getexif()
    exif[0x0112] = 6  # display rotated by 90 degrees clockwise
    rotated.save(tmp_path / "rotated.png", exif=exif)
    torch.testing.assert_close(load_grey(tmp_path / "rotated.png"), torch.from_numpy(grey) / 255)


@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_pil_image_that_is_not_decoded_yet_is_checked_as_its_file_is(
    kept: float, grey: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(grey).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    for image in (path, Image.open(path)):
        with pytest.raises(UserError, match="cut.png is not a readable image"):
            load_rgba(image)
