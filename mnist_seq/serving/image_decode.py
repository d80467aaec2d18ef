"""Decode untrusted images: the size is checked before decoding, and only plain image formats are tried."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from mnist_seq.data.image_io import decode_image

FORMATS = ("PNG", "JPEG", "WEBP")
_DRAFT_SIZE = (1024, 1024)
"""Width and height, pixels: a large JPEG is decoded at the smallest scale that is no smaller than this."""


class ImageDecodeError(ValueError):
    """An image that cannot be read; the message continues a sentence that begins with the image's name."""


class UnsupportedFormat(ImageDecodeError):
    """Not a PNG, JPEG or WebP file."""


class ImageTooLarge(ImageDecodeError):
    """More pixels than the limit."""


class CorruptImage(ImageDecodeError):
    """A damaged file, or more than one frame."""


def decode_bytes(data: bytes, max_pixels: int) -> Image.Image:
    """Decode an image file.

    Args:
        max_pixels: largest width x height.

    Raises:
        ImageDecodeError: one of its subclasses.
    """
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnsupportedFormat("is not a readable PNG, JPEG or WebP file") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"has far more than {max_pixels:,} pixels, the limit") from error
    except Exception as error:  # a hostile header leads a decoder anywhere
        raise CorruptImage(f"is damaged: {_one_line(error)}") from error
    if file.width * file.height > max_pixels:
        raise ImageTooLarge(f"has {file.width}x{file.height} pixels: at most {max_pixels:,} are read, make it smaller")
    try:
        num_frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)  # MPO: a JPEG with a thumbnail
        if num_frames > 1:
            raise CorruptImage(f"has {num_frames} frames: send a single one")
        file.draft("L", _DRAFT_SIZE)
        return decode_image(file)
    except CorruptImage:
        raise
    except Exception as error:
        raise CorruptImage(f"is damaged: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
