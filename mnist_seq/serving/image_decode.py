"""Decode untrusted images: the size is checked before decoding, and only plain image formats are tried."""

from __future__ import annotations

import io
import math
from http import HTTPStatus
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from mnist_seq.data.image_io import decode_image, load_rgba

FORMATS = ("PNG", "JPEG", "WEBP")
_SIDE = 1280
"""Images of more pixels than the square of this are scaled down to that: enough to read them, and little enough to hold
those of many requests in memory."""
_AVERAGED_MODES = ("L", "LA", "RGB", "RGBA")
"""Modes in which Pillow averages pixels; others are converted."""


class DecodedImage(NamedTuple):
    """An image of a request."""

    image: Image.Image
    scale: float = 1.0
    """Pixels of the file for each pixel of `image` along an axis; above 1 for large files."""


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


def decode_bytes(data: bytes, max_pixels: int) -> DecodedImage:
    """Decode an image file, a large one at a smaller scale.

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
        if max(file.size) > _MAX_SIDE:
            raise ImageTooLarge(f"has a side of {max(file.size):,} pixels: at most {_MAX_SIDE:,} are read")
        num_frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)  # MPO: a JPEG with a thumbnail
        if num_frames > 1:
            raise CorruptImage(f"has {num_frames} frames: send a single one")
        longest = max(file.size)  # whatever its orientation, which `_shrink` may apply
        file.draft(None, (_SIDE, _SIDE))  # a JPEG is decoded at a smaller scale, which is fast
        image = _shrink(decode_image(file))
        return DecodedImage(image, longest / max(image.size))
    except ImageDecodeError:
        raise
    except UnidentifiedImageError as error:
        raise UnsupportedFormat("is not a readable PNG, JPEG or WebP file") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"has far more than {max_pixels:,} pixels, the limit") from error
    except Exception as error:  # a hostile file leads a decoder anywhere
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CorruptImage(f"is damaged: {reason}") from error


def _shrink(image: Image.Image) -> Image.Image:
    """Average pixels, so that at most about `_SIDE` squared are left."""
    factor = math.sqrt(image.width * image.height) / _SIDE
    if factor <= 1:
        return image
    if image.mode not in _AVERAGED_MODES or "transparency" in image.info:
        image = Image.fromarray(load_rgba(image).permute(1, 2, 0).numpy())
    size = max(1, round(image.width / factor)), max(1, round(image.height / factor))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2)


_MAX_SIDE = 2**15
"""Longest side that is read, pixels: resampling takes memory in proportion to it, however thin a picture is."""
