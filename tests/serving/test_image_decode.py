"""Untrusted images are decoded within limits, or rejected with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ExifTags, Image

from mnist_seq.data.image_io import load_rgba
from mnist_seq.serving.image_decode import (
    FORMATS,
    CorruptImage,
    ImageDecodeError,
    ImageTooLarge,
    UnsupportedFormat,
    decode_bytes,
)
from tests.serving.conftest import encode_image

PLAIN = Image.fromarray(np.arange(8100, dtype=np.uint8).reshape(90, 90))


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_image_is_decoded_losslessly(kind: str) -> None:
    image, scale = decode_bytes(encode_image(PLAIN, kind, lossless=True), 8100)
    assert scale == 1
    assert (np.asarray(image.convert("L")) == np.asarray(PLAIN)).all()


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"hello", UnsupportedFormat, "is not a readable PNG, JPEG or WebP file"),
        (b"P5 9 9 255 " + bytes(81), UnsupportedFormat, "is not a readable"),
        (encode_image(PLAIN, "gif"), UnsupportedFormat, "is not a readable"),
        (encode_image(PLAIN)[:60], CorruptImage, "is damaged: "),
        (encode_image(PLAIN, "webp", save_all=True, append_images=[PLAIN.rotate(90)]), CorruptImage, "has 2 frames"),
    ],
)
def test_unreadable_file_is_rejected_in_one_line(data: bytes, kind: type[ImageDecodeError], reason: str) -> None:
    with pytest.raises(kind, match=reason) as refusal:
        decode_bytes(data, 20_000_000)
    assert "\n" not in str(refusal.value)


def test_thin_image_is_refused_since_resampling_takes_memory_by_its_longest_side() -> None:
    data = encode_image(Image.new("1", (2**15 + 1, 1)))
    with pytest.raises(ImageTooLarge, match="has a side of 32,769 pixels: at most 32,768 are read"):
        decode_bytes(data, 20_000_000)


def test_image_too_large_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_image(Image.new("L", (5000, 4001)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge, match="5000x4001 pixels: at most 20,000,000"):
        decode_bytes(data, 20_000_000)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_large_image_is_decoded_at_reduced_scale(kind: str, mode: str) -> None:
    large = Image.new(mode, (4000, 3000))
    if kind != "png":
        large = large.convert("RGB")
    image, scale = decode_bytes(encode_image(large, kind), 20_000_000)
    assert image.width * image.height == pytest.approx(1280**2, rel=1e-2)
    assert scale == pytest.approx(4000 / image.width)
    assert scale == pytest.approx(3000 / image.height, rel=1e-2)


def test_transparency_and_orientation_survive_the_reduced_scale() -> None:
    large = Image.new("P", (2100, 4200))
    large.paste(1, (0, 0, 2100, 2100))
    large.putpalette([255, 0, 0, 0, 0, 255])
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image, scale = decode_bytes(encode_image(large, transparency=0, exif=exif), 20_000_000)
    assert scale == pytest.approx(2.32, rel=1e-2)
    red, _, blue, alpha = load_rgba(image)
    assert alpha.shape[1] == 2 * alpha.shape[0], "lies on its side"
    middle = alpha.shape[1] // 2
    assert (alpha[:, : middle - 1] == 0).all()
    assert (alpha[:, middle + 1 :] == 255).all()
    assert (blue[:, middle + 1 :] == 255).all()
    assert (red[:, middle + 1 :] == 0).all()


def test_formats_of_scripts_and_documents_are_never_tried() -> None:
    assert set(FORMATS) == {"PNG", "JPEG", "WEBP"}


def test_photo_with_an_embedded_thumbnail_is_one_image() -> None:
    data = encode_image(PLAIN, "mpo", save_all=True, append_images=[PLAIN.resize((30, 30))])
    assert decode_bytes(data, 8100).image.size == PLAIN.size
