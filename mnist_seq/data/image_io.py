"""Pictures of any kind, as ink on a background of 0.

Shapes   H W picture   C channels: grey, red green blue, or red green blue alpha
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from mnist_seq.config.validation import check_choice
from mnist_seq.errors import NotFoundError, UserError

ImageInput = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
_CHANNEL_COUNTS = (1, 3, 4)
_CHANNEL_AXIS = {"first": 0, "last": 2}
"""Where the channels of an array are."""
_BIT_DEPTHS = (1, 8, 10, 12, 14, 16, 24, 32)
"""Bits of a grey level: of masks, cameras and scanners, whatever the number of bits that a file keeps each in."""
_OPAQUE_ALPHA = 0.95
"""Least alpha of what is opaque."""
_MULTI_FRAME_FORMATS = ("GIF", "PNG", "TIFF", "WEBP", "AVIF")
"""Formats that may hold many pictures."""


def load_image(image: ImageInput, channels: str | None = None) -> Tensor:
    """A picture as floats in [0, 1], the background (the median of its border) near 0; H W.

    Args:
        channels: where those of an array or tensor are, `first` or `last`, if its shape alone does not say.

    Raises:
        NotFoundError: no such file.
        UserError: not an image, or an array that might be several pictures as well as one.
    """
    grey = _to_grayscale(image, channels)
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 1 - grey if border.median() > 0.5 else grey


def _to_grayscale(picture: ImageInput, channels: str | None) -> Tensor:
    """Floats in [0, 1]; H W."""
    if isinstance(picture, (str, os.PathLike)):
        picture = _open_image(Path(picture))
    if isinstance(picture, Image.Image):
        return _pil_to_grayscale(_apply_exif_orientation(picture))
    if isinstance(picture, np.ndarray) and picture.dtype.kind in "buif":
        picture = torch.as_tensor(np.array(picture, dtype=picture.dtype.newbyteorder("=")))
    if not isinstance(picture, Tensor):
        raise UserError(f"a picture of type {type(picture).__name__}: give a path, a PIL image, an array or a tensor")
    return _rgb_to_grayscale(_to_unit_range(_channels_first(picture.detach().cpu(), channels)))


# ------------------------------------------------------------------------------------------------- arrays and tensors


def _channels_first(values: Tensor, channels: str | None) -> Tensor:
    """C H W of H W, H W C or C H W."""
    shape = " ".join(map(str, values.shape))
    if channels is not None:
        check_choice("channels", channels, _CHANNEL_AXIS)
    if values.ndim == 2 and values.numel():
        return values[None]
    if values.ndim != 3 or not values.numel():
        raise UserError(f"an image of shape {shape}: give one picture, H W, H W C or 1 H W, or a list of them")
    may_be = [
        name
        for name, axis in _CHANNEL_AXIS.items()
        if values.shape[axis] in _CHANNEL_COUNTS and channels in (None, name)
    ]
    if not may_be:
        raise UserError(
            f"an image of shape {shape}: give 1, 3 or 4 channels, or list(x) where these are several pictures"
        )
    if may_be == ["first"] and (values.shape[0] == 1 or channels):
        return values
    if may_be == ["last"]:
        return values.permute(2, 0, 1)
    how = " or ".join(f'channels="{name}"' for name in may_be)
    raise UserError(
        f"an image of shape {shape} can be one picture or {values.shape[0]}: give {how} for one, list(x) for several"
    )


def _to_unit_range(values: Tensor) -> Tensor:
    """Grey levels as floats in [0, 1]."""
    if values.dtype == torch.bool:
        return values.float()
    if values.is_floating_point():
        if not bool(torch.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
            raise UserError(f"grey levels from {values.min():g} to {values.max():g}: floats must lie in [0, 1]")
        return values.float()
    whole = values.long()  # torch knows neither least nor most of 16 unsigned bits
    least, most = int(whole.min()), int(whole.max())
    if least < 0 or (most > 255 and values.dtype != torch.uint16):
        raise UserError(f"grey levels from {least} to {most}: give 0..255, 16 unsigned bits, or floats in [0, 1]")
    return whole.float() / _white_level(most)


def _rgb_to_grayscale(unit: Tensor) -> Tensor:
    """Grey of C H W, where transparent with what lies behind it; H W."""
    if len(unit) == 1:
        return unit[0]
    grey = torch.einsum("chw,c->hw", unit[:3], torch.tensor(_LUMA_WEIGHTS))
    return grey if len(unit) == 3 else grey * unit[3] + _background_level(grey, unit[3]) * (1 - unit[3])


def _background_level(grey: Tensor, alpha: Tensor) -> float:
    """The grey behind a transparent picture: that of its own paper, else the one on which all its strokes are seen."""
    opaque = alpha >= _OPAQUE_ALPHA
    seen = grey[opaque] if opaque.any() else grey[alpha > 0]
    if not len(seen):
        return 1.0
    low, level, high = np.quantile(seen.numpy(), (0.05, 0.5, 0.95))
    inked = float(((seen - level).abs() > 0.25).float().mean()) > 0.002
    solid = len(seen) > 0.7 * _span(opaque.any(0)) * _span(opaque.any(1))  # strokes leave more of their box empty
    if (inked and solid) or len(seen) > 0.9 * grey.numel():
        return float(level)
    return 0.0 if low > 1 - high else 1.0


def _span(there: Tensor) -> int:
    """From the first that is there to the last."""
    places = there.nonzero()
    return int(places[-1] - places[0]) + 1 if len(places) else len(there)


def _white_level(most: int) -> int:
    """The level of white where this is the largest level: of the fewest bits that hold it."""
    return next((2**bits - 1 for bits in _BIT_DEPTHS if most < 2**bits), most)


# -------------------------------------------------------------------------------------------------------------- images


def decode_image(image: ImageFile.ImageFile) -> Image.Image:
    """Load the pixels of a file that Pillow opened.

    Of colours of 16 bits Pillow keeps the upper 8, in which there is little where only the lower bits are used.

    Raises:
        UserError: there is nothing in them.
        Exception: whatever a damaged file leads a decoder to.
    """
    deep = image.mode in ("RGB", "RGBA") and ";16" in str(image.tile)
    image.load()
    if not deep:
        return image
    most = np.asarray(image).max(initial=0)
    if not most:
        raise UserError("its colours of 16 bits are all darker than 256 of 65535: save it with 8 bits")
    top = next(2**bits - 1 for bits in (2, 4, 6, 8) if most < 2**bits)
    return image.point([level * 255 // top for level in range(256)] * len(image.getbands()))


def _open_image(path: Path) -> Image.Image:
    try:
        file = Image.open(path)
        frames = getattr(file, "n_frames", 1) if file.format in _MULTI_FRAME_FORMATS else 1
        image = decode_image(file)
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except Exception as problem:  # a damaged file leads a decoder anywhere
        raise UserError(f"{path} is not a readable image: {problem or type(problem).__name__}") from problem
    if frames > 1:
        raise UserError(f"{path} holds {frames} pictures: give one")
    return image


def _apply_exif_orientation(image: Image.Image) -> Image.Image:
    """As it was seen: cameras store how they were held, and not the picture turned."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the parser of EXIF raises whatever the bytes lead it to; the picture may be whole
        return image


def _pil_to_grayscale(image: Image.Image) -> Tensor:
    """Floats in [0, 1]; H W."""
    if 0 in image.size:
        raise UserError(f"an image of {image.width}x{image.height} pixels: give one that has some")
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits a pixel
        return _high_bit_depth_to_grayscale(image)
    plain = image.mode in ("L", "1", "RGB") and not image.has_transparency_data
    values = torch.from_numpy(np.array(image.convert("L" if plain else "RGBA")))
    return _rgb_to_grayscale(_to_unit_range(values[None] if values.ndim == 2 else values.permute(2, 0, 1)))


def _high_bit_depth_to_grayscale(image: Image.Image) -> Tensor:
    values = np.array(image, dtype=np.float64)
    least, most = float(values.min(initial=0)), float(values.max(initial=0))
    if not np.isfinite(values).all() or least < 0 or 1 < most < 2:  # a little beyond 1 is no scale of 0..255
        raise UserError(f"grey levels from {least:g} to {most:g}: give 0..255, 16 unsigned bits, or floats in [0, 1]")
    top = 1 if image.mode == "F" and most <= 1 else _white_level(int(most))
    return torch.from_numpy(values / top).float()
