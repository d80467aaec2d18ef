"""Pictures from strangers: measured before they are decoded, and only of formats that hold pictures alone."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from mnist_seq.data.pictures import decoded

FORMATS = ("PNG", "JPEG", "WEBP")
_DRAFT = (1024, 1024)
"""Large JPEGs are decoded no larger than is needed for this."""


class Unfit(ValueError):
    """A picture that is not read."""


class NotPicture(Unfit):
    """It is no PNG, JPEG or WebP file."""


class TooLarge(Unfit):
    """It has more pixels than are decoded."""


class Damaged(Unfit):
    """It cannot be decoded, or it moves."""


def opened(data: bytes, pixels: int) -> Image.Image:
    """A picture, decoded.

    Args:
        pixels: most that are decoded.

    Raises:
        Unfit: one of its kinds, with a reason that goes on after what the picture is called.
    """
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as problem:
        raise NotPicture("is not a readable PNG, JPEG or WebP file") from problem
    except Image.DecompressionBombError as problem:
        raise TooLarge(f"has far more than {pixels:,} pixels, the most that are read") from problem
    except Exception as problem:  # a hostile header leads a decoder anywhere
        raise Damaged(f"is damaged: {_line(problem)}") from problem
    if file.width * file.height > pixels:
        size = f"{file.width}x{file.height}"
        raise TooLarge(f"has {size} pixels: at most {pixels:,} are read, make it smaller")
    try:
        frames = 1 if file.format == "MPO" else getattr(file, "n_frames", 1)  # a JPEG with a preview of itself
        if frames > 1:
            raise Damaged(f"has {frames} frames: give one")
        file.draft("L", _DRAFT)
        return decoded(file)
    except Damaged:
        raise
    except Exception as problem:
        raise Damaged(f"is damaged: {_line(problem)}") from problem


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:120] or type(problem).__name__
