"""Untrusted images are decoded within limits, or rejected with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

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
    image = decode_bytes(encode_image(PLAIN, kind, lossless=True), 8100)
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


def test_image_too_large_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_image(Image.new("L", (5000, 4001)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge, match="5000x4001 pixels: at most 20,000,000"):
        decode_bytes(data, 20_000_000)


def test_large_photo_is_decoded_at_reduced_scale() -> None:
    image = decode_bytes(encode_image(Image.new("L", (4000, 3000)), "jpeg"), 20_000_000)
    assert max(image.size) <= 2048


def test_formats_of_scripts_and_documents_are_never_tried() -> None:
    assert set(FORMATS) == {"PNG", "JPEG", "WEBP"}


def test_photo_with_an_embedded_thumbnail_is_one_image() -> None:
    data = encode_image(PLAIN, "mpo", save_all=True, append_images=[PLAIN.resize((30, 30))])
    assert decode_bytes(data, 8100).size == PLAIN.size
