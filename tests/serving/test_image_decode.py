"""Pictures from strangers."""

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
from tests.serving.conftest import encoded

PLAIN = Image.fromarray(np.arange(8100, dtype=np.uint8).reshape(90, 90))


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_picture_is_what_was_sent(kind: str) -> None:
    image = decode_bytes(encoded(PLAIN, kind, lossless=True), 8100)
    assert (np.asarray(image.convert("L")) == np.asarray(PLAIN)).all()


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"hello", UnsupportedFormat, "is not a readable PNG, JPEG or WebP file"),
        (b"P5 9 9 255 " + bytes(81), UnsupportedFormat, "is not a readable"),
        (encoded(PLAIN, "gif"), UnsupportedFormat, "is not a readable"),
        (encoded(PLAIN)[:60], CorruptImage, "is damaged: "),
        (encoded(PLAIN, "webp", save_all=True, append_images=[PLAIN.rotate(90)]), CorruptImage, "has 2 frames"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_line(data: bytes, kind: type[ImageDecodeError], reason: str) -> None:
    with pytest.raises(kind, match=reason) as refusal:
        decode_bytes(data, 20_000_000)
    assert "\n" not in str(refusal.value)


def test_a_picture_too_large_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (5000, 4001)))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageTooLarge, match="5000x4001 pixels: at most 20,000,000"):
        decode_bytes(data, 20_000_000)


def test_a_large_photograph_is_decoded_no_larger_than_is_needed() -> None:
    image = decode_bytes(encoded(Image.new("L", (4000, 3000)), "jpeg"), 20_000_000)
    assert max(image.size) <= 2048


def test_formats_of_scripts_and_documents_are_never_tried() -> None:
    assert set(FORMATS) == {"PNG", "JPEG", "WEBP"}


def test_a_photograph_with_a_preview_of_itself_is_one_picture() -> None:
    data = encoded(PLAIN, "mpo", save_all=True, append_images=[PLAIN.resize((30, 30))])
    assert decode_bytes(data, 8100).size == PLAIN.size
