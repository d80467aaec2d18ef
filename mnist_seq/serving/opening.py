"""Pictures from strangers: measured before they are decoded, and only of formats that hold pictures alone."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

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
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as problem:
        raise NotPicture("is not a readable PNG, JPEG or WebP file") from problem
    except Image.DecompressionBombError as problem:
        raise TooLarge(f"has far more than {pixels:,} pixels, the most that are read") from problem
    except Exception as problem:  # a hostile header leads a decoder anywhere
        raise Damaged(f"is damaged: {_line(problem)}") from problem
    if image.width * image.height > pixels:
        size = f"{image.width}x{image.height}"
        raise TooLarge(f"has {size} pixels: at most {pixels:,} are read, make it smaller")
    try:
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a JPEG with a preview of itself
        image.draft("L", _DRAFT)
        if frames == 1:
            image.load()
    except Exception as problem:
        raise Damaged(f"is damaged: {_line(problem)}") from problem
    if frames > 1:
        raise Damaged(f"has {frames} frames: give one")
    return image


def _line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:120] or type(problem).__name__
