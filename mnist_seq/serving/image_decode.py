"""Decode untrusted images: the size is checked before decoding, and only plain image formats are tried."""

from __future__ import annotations

import io
from http import HTTPStatus

from PIL import Image, UnidentifiedImageError

from mnist_seq.data.image_io import decode_image

FORMATS = ("PNG", "JPEG", "WEBP")
_DRAFT_SIZE = (1024, 1024)
"""Width and height, pixels: a large JPEG is decoded at the smallest scale that is no smaller than this."""


class ImageDecodeError(ValueError):
    """An image that cannot be read; the message continues a sentence that begins with the image's name."""

    status: HTTPStatus
    """Of a response that refuses the image."""


class UnsupportedFormat(ImageDecodeError):
    """Not a PNG, JPEG or WebP file."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class ImageTooLarge(ImageDecodeError):
    """More pixels than the limit."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class CorruptImage(ImageDecodeError):
    """A damaged file, or more than one frame."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


def decode_bytes(data: bytes, max_pixels: int) -> Image.Image:
    """Decode an image file.

    Args:
        max_pixels: largest width x height.

    Raises:
        ImageDecodeError: one of its subclasses.
    """
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
        if file.width * file.height > max_pixels:
            size = f"{file.width}x{file.height}"
            raise ImageTooLarge(f"has {size} pixels: at most {max_pixels:,} are read, make it smaller")
        num_frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)  # MPO: a JPEG with a thumbnail
        if num_frames > 1:
            raise CorruptImage(f"has {num_frames} frames: send a single one")
        file.draft(None, _DRAFT_SIZE)
        return decode_image(file)
    except ImageDecodeError:
        raise
    except UnidentifiedImageError as error:
        raise UnsupportedFormat("is not a readable PNG, JPEG or WebP file") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"has far more than {max_pixels:,} pixels, the limit") from error
    except Exception as error:  # a hostile file leads a decoder anywhere
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CorruptImage(f"is damaged: {reason}") from error
