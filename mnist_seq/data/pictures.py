"""Pictures of any kind, as ink on a background of 0."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mnist_seq.errors import NotFoundError, UserError

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def ink(picture: Picture) -> Tensor:
    """A picture as floats in [0, 1], the background (the median of its border) near 0; H W.

    Raises:
        FileNotFoundError, ValueError: no such file, or not an image.
    """
    grey = _grey(picture)
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 1 - grey if border.median() > 0.5 else grey


def _grey(picture: Picture) -> Tensor:
    """Floats in [0, 1]; H W."""
    if isinstance(picture, (str, os.PathLike)):
        picture = _open(Path(picture))
    if isinstance(picture, Image.Image):
        picture = np.asarray(_flat(_upright(picture)))
    values = torch.as_tensor(np.array(picture) if isinstance(picture, np.ndarray) else picture).detach().cpu()
    if values.ndim not in (2, 3) or values.numel() == 0:
        raise UserError(f"an image of shape {tuple(values.shape)}: give H W, H W C or C H W")
    if values.ndim == 3:
        if values.shape[0] not in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
            raise UserError(f"an image of shape {tuple(values.shape)}: 1, 3 or 4 channels, first or last")
        if values.shape[2] in (1, 3, 4) and values.shape[0] not in (1, 3, 4):
            values = values.permute(2, 0, 1)
    unit = _unit(values)
    if unit.ndim == 2:
        return unit
    colour = unit[:3] * unit[3] + 1 - unit[3] if len(unit) == 4 else unit  # transparent is paper
    return colour[0] if len(colour) == 1 else torch.einsum("chw,c->hw", colour, torch.tensor(_GREY))


def _unit(values: Tensor) -> Tensor:
    if values.dtype == torch.bool:
        return values.float()
    if not values.is_floating_point():
        if values.dtype != torch.uint8:
            values = values.long()  # torch knows neither least nor most of 16 unsigned bits
            if values.min() < 0 or values.max() > 255:
                raise UserError(f"grey levels from {values.min()} to {values.max()}: give 0..255, or floats in [0, 1]")
        return values.float() / 255
    if not bool(torch.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
        raise UserError(f"grey levels from {values.min():g} to {values.max():g}: floats must lie in [0, 1]")
    return values.float()


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as problem:
        raise UserError(f"{path} is not a readable image: {problem}") from problem
    return image


def _upright(image: Image.Image) -> Image.Image:
    """As it was seen: cameras store how they were held, and not the picture turned."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the parser of EXIF raises whatever the bytes lead it to; the picture may be whole
        return image


def _flat(image: Image.Image) -> Image.Image:
    """Grey, with transparent parts as paper."""
    if image.mode in ("L", "1") or (image.mode == "RGB" and "transparency" not in image.info):
        return image.convert("L")
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits a pixel
        values = np.asarray(image, dtype=np.float32)
        most = values.max(initial=0)
        top = 65535 if most > 255 else 1 if image.mode == "F" and most <= 1 else 255
        return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
