"""Pictures from strangers: measured before they are decoded, and only of formats that hold pictures alone."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from mnist_seq.data.image_io import decode_image

FORMATS = ("PNG", "JPEG", "WEBP")
_DRAFT_SIZE = (1024, 1024)
"""Large JPEGs are decoded no larger than is needed for this."""


class ImageDecodeError(ValueError):
    """A picture that is not read."""


class UnsupportedFormat(ImageDecodeError):
    """It is no PNG, JPEG or WebP file."""


class ImageTooLarge(ImageDecodeError):
    """It has more pixels than are decoded."""


class CorruptImage(ImageDecodeError):
    """It cannot be decoded, or it moves."""


def decode_bytes(data: bytes, max_pixels: int) -> Image.Image:
    """A picture, decoded.

    Args:
        pixels: most that are decoded.

    Raises:
        Unfit: one of its kinds, with a reason that goes on after what the picture is called.
    """
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as problem:
        raise UnsupportedFormat("is not a readable PNG, JPEG or WebP file") from problem
    except Image.DecompressionBombError as problem:
        raise ImageTooLarge(f"has far more than {max_pixels:,} pixels, the most that are read") from problem
    except Exception as problem:  # a hostile header leads a decoder anywhere
        raise CorruptImage(f"is damaged: {_one_line(problem)}") from problem
    if file.width * file.height > max_pixels:
        size = f"{file.width}x{file.height}"
        raise ImageTooLarge(f"has {size} pixels: at most {max_pixels:,} are read, make it smaller")
    try:
        frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)  # a JPEG with a preview of itself
        if frames > 1:
            raise CorruptImage(f"has {frames} frames: give one")
        file.draft("L", _DRAFT_SIZE)
        return decode_image(file)
    except CorruptImage:
        raise
    except Exception as problem:
        raise CorruptImage(f"is damaged: {_one_line(problem)}") from problem


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:120] or type(problem).__name__
