"""Load any image (file, PIL image, array or tensor) as 8-bit RGBA, which `preprocess` turns into a model's input.

Shapes   H W image   C channels: grey; red, green, blue; or these with alpha
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import ExifTags, Image, ImageFile, ImageOps
from torch import Tensor

from mnist_seq.config.validation import check_choice
from mnist_seq.errors import NotFoundError, UserError

ImageInput = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""
_CHANNEL_COUNTS = (1, 3, 4)
_CHANNEL_AXIS = {"first": 0, "last": 2}
_BIT_DEPTHS = (1, 8, 10, 12, 14, 16, 24, 32)
"""Bits per grey level of masks, cameras and scanners; a file may store them in more."""
_ROTATED = (5, 6, 7, 8)
"""EXIF orientations of images that are displayed turned by a quarter."""
_MULTI_FRAME_FORMATS = ("GIF", "PNG", "TIFF", "WEBP", "AVIF")
"""Formats that may contain several images."""


def load_rgba(image: object, channels: str | None = None) -> UInt8[Tensor, "4 H W"]:
    """Load an image as it is displayed: red, green, blue and alpha.

    Args:
        image: an `ImageInput`; anything else is refused at run time, since users call this through `Reader.read`.
        channels: where the channels of an array or tensor are, `first` or `last`, if the shape alone is ambiguous.

    Raises:
        NotFoundError: no such file.
        UserError: not an image, or an array that may be one image or several.
    """
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        image = _open_image(path)
        with _naming(path):
            return _upright_rgba(image)
    elif isinstance(image, ImageFile.ImageFile):  # its pixels may not have been decoded yet
        with _naming(image.filename or "the image"):
            image = decode_image(image)
    if isinstance(image, Image.Image):
        return _upright_rgba(image)
    if isinstance(image, np.ndarray) and image.dtype.kind in "buif":
        image = torch.as_tensor(np.array(image, dtype=image.dtype.newbyteorder("=")))
    if not isinstance(image, Tensor):
        kind = type(image).__name__
        raise UserError(f"unsupported image type {kind}: pass a path, a PIL image, a NumPy array or a tensor")
    return _to_rgba(_to_unit_range(_channels_first(image.detach().cpu(), channels)))


def read_size(path: Path) -> tuple[int, int]:
    """Read the height and width of an image file as it is displayed, pixels, from its header.

    Raises:
        NotFoundError: no such file.
        UserError: not an image.
    """
    image = _open_file(path)
    orientation = 1
    with image, suppress(Exception):  # as in `load_rgba`
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return (image.width, image.height) if orientation in _ROTATED else (image.height, image.width)


def _to_rgba(pixels: Float[Tensor, "C H W"]) -> UInt8[Tensor, "4 H W"]:
    """Convert floats in [0, 1] to 8 bits; grey becomes three equal colours, and what has no alpha is opaque."""
    levels = (255 * pixels).round().to(torch.uint8)
    alpha = levels[3:] if len(levels) == 4 else torch.full_like(levels[:1], 255)
    return torch.cat([levels[:3].expand(3, -1, -1), alpha])


# ------------------------------------------------------------------------------------------------- arrays and tensors


def _channels_first(values: Tensor, channels: str | None) -> Shaped[Tensor, "C H W"]:
    """Convert H W, H W C or C H W to C H W."""
    shape = " ".join(map(str, values.shape))
    if channels is not None:
        check_choice("channels", channels, _CHANNEL_AXIS)
    if values.ndim == 2 and values.numel():
        return values[None]
    if values.ndim != 3 or not values.numel():
        raise UserError(f"an image of shape {shape}: pass one image, H W, H W C or 1 H W, or a list of them")
    possible = [name for name, axis in _CHANNEL_AXIS.items() if values.shape[axis] in _CHANNEL_COUNTS]
    candidates = [name for name in possible if channels in (None, name)]
    if not candidates:
        raise UserError(f"an image of shape {shape}: pass 1, 3 or 4 channels, or list(x) for several images")
    if candidates == ["first"] and (values.shape[0] == 1 or channels):
        return values
    if candidates == ["last"]:
        return values.permute(2, 0, 1)
    options = " or ".join(f'channels="{name}"' for name in candidates)
    raise UserError(
        f"an image of shape {shape} is ambiguous (one image or {values.shape[0]}): pass {options} for one image, "
        "list(x) for several"
    )


def _to_unit_range(values: Shaped[Tensor, "C H W"]) -> Float[Tensor, "C H W"]:
    """Convert pixel values to floats in [0, 1]."""
    if values.dtype == torch.bool:
        return values.float()
    if values.is_floating_point():
        if not bool(torch.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
            raise UserError(f"pixel values from {values.min():g} to {values.max():g}: floats must lie in [0, 1]")
        return values.float()
    integers = values.long()  # torch has no min and max of uint16
    low, high = int(integers.min()), int(integers.max())
    if low < 0 or (high > 255 and values.dtype != torch.uint16):
        raise UserError(f"pixel values from {low} to {high}: pass 0..255, uint16, or floats in [0, 1]")
    return integers.float() / _white_level(high)


def _white_level(high: int) -> int:
    """Return the level of white if this is the largest level: that of the lowest bit depth that holds it."""
    return next((2**bits - 1 for bits in _BIT_DEPTHS if high < 2**bits), high)


# --------------------------------------------------------------------------------------------------- files and PIL


def decode_image(image: ImageFile.ImageFile) -> Image.Image:
    """Load the pixels of a file that Pillow opened.

    Pillow keeps the upper 8 bits of 16-bit colours. If the file uses only the lower bits, little is left in them, and
    it is scaled up.

    Raises:
        UserError: nothing is left in them.
        Exception: any error that the decoder of a corrupt file raises.
    """
    is_16_bit_colour = image.mode in ("LA", "RGB", "RGBA") and ";16" in str(image.tile)
    image.load()
    if not is_16_bit_colour:
        return image
    num_colours = len(image.getbands()) - image.mode.endswith("A")
    high = np.asarray(image).reshape(*image.size[::-1], -1)[..., :num_colours].max(initial=0)
    if not high:
        raise UserError("its colours of 16 bits are all darker than 256 of 65535: save it with 8 bits")
    white = next(2**bits - 1 for bits in (2, 4, 6, 8) if high < 2**bits)
    colours, alpha = [level * 255 // white for level in range(256)] * num_colours, list(range(256))
    return image.point(colours + alpha * (len(image.getbands()) - num_colours))


@contextmanager
def _naming(name: object) -> Iterator[None]:
    """Name the image in any error within the context: the decoder of a corrupt file may raise anything."""
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError(f"{name} does not exist") from None
    except Exception as error:
        raise UserError(f"{name} is not a readable image: {error or type(error).__name__}") from error


def _open_file(path: Path) -> ImageFile.ImageFile:
    with _naming(path):
        return Image.open(path)


def _open_image(path: Path) -> Image.Image:
    file = _open_file(path)
    with _naming(path):
        num_frames = getattr(file, "n_frames", 1) if file.format in _MULTI_FRAME_FORMATS else 1
        image = decode_image(file)
    if num_frames > 1:
        raise UserError(f"{path} contains {num_frames} frames: expected a single image")
    return image


def _upright_rgba(image: Image.Image) -> UInt8[Tensor, "4 H W"]:
    with suppress(Exception):  # the parser may raise anything for corrupt EXIF, and the image may be fine
        image = ImageOps.exif_transpose(image)  # cameras store their orientation instead of rotating the pixels
    return _pil_to_rgba(image)


def _pil_to_rgba(image: Image.Image) -> UInt8[Tensor, "4 H W"]:
    if 0 in image.size:
        raise UserError(f"an image of {image.width}x{image.height} pixels: expected a non-empty image")
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits per pixel
        return _to_rgba(_high_bit_depth_to_grayscale(image)[None])
    if image.mode in ("L", "1") and not image.has_transparency_data:  # expanding grey in torch is faster
        grey = torch.from_numpy(np.array(image.convert("L")))
        if _white_level(int(grey.max())) < 255:
            return _to_rgba(_to_unit_range(grey[None]))
        return torch.stack([grey, grey, grey, torch.full_like(grey, 255)])
    return torch.from_numpy(np.array(image.convert("RGBA"))).permute(2, 0, 1)


def _high_bit_depth_to_grayscale(image: Image.Image) -> Float[Tensor, "H W"]:
    values = np.array(image, dtype=np.float32)
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if not np.isfinite(values).all() or low < 0 or 1 < high < 2:  # slightly above 1 is not a range of 0..255
        raise UserError(f"pixel values from {low:g} to {high:g}: pass 0..255, uint16, or floats in [0, 1]")
    white = 1 if image.mode == "F" and high <= 1 else _white_level(int(high))
    return torch.from_numpy(values / white).float()
