"""Image in, digits out.

Shapes   B images   H W canvas of the model
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mnist_seq.nn.model import Model
from mnist_seq.tokens import DIGITS
from mnist_seq.use import weights

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor

_MARGIN = 4 / 28
"""Background around the ink of a fitted image, as a share of the canvas: MNIST's own."""
_INK = 0.3
"""Grey level above which a pixel counts as ink when an image is fitted, between background 0 and ink 1."""
_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Reading:
    """What was read in an image."""

    digits: list[int]
    confidence: float
    """Probability of the whole reading, its end included."""
    per_digit: list[float]
    """Probability of each digit."""
    cells: list[int | None] | None = None
    """What each cell of the canvas holds, in raster order, where the model reads by cells."""

    def __str__(self) -> str:
        return " ".join(map(str, self.digits)) or "no digits"


class Reader:
    """A trained model that reads pictures."""

    def __init__(self, model: Model, card: dict[str, Any]) -> None:
        self.model, self.card = model.eval(), card

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def read(self, pictures: Picture | Sequence[Picture]) -> Any:
        """Read a picture, or each of a list in one batch.

        Args:
            pictures: a path, PIL image, array or tensor: H W, H W C or C H W with 1, 3 or 4 channels; uint8, or floats
                in [0, 1]; light on dark or dark on light; one of the canvas' size is read as it is, any other is
                cropped to its ink and fitted.

        Returns:
            A Reading, or a list of them.

        Raises:
            FileNotFoundError, ValueError: no such file, or not an image.
        """
        if isinstance(pictures, (list, tuple)):
            return self._read(pictures) if pictures else []
        return self._read([cast(Picture, pictures)])[0]

    @torch.no_grad()
    def embed(self, pictures: Picture | Sequence[Picture]) -> Tensor:
        """The encoder's summary of a picture, D, or of each of a list, B D."""
        if isinstance(pictures, (list, tuple)):
            return self.model.embed(self._canvases(pictures))
        return self.model.embed(self._canvases([cast(Picture, pictures)]))[0]

    def _read(self, pictures: Sequence[Picture]) -> list[Reading]:
        readout = self.model.read(self._canvases(pictures))
        cells = [None] * len(pictures) if readout.cells is None else readout.cells.tolist()
        readings = []
        for digits, probability, confidence, held in zip(
            readout.digits.tolist(), readout.probability.tolist(), readout.confidence.tolist(), cells, strict=True
        ):
            count = sum(digit < DIGITS for digit in digits)
            named = held and [digit if digit < DIGITS else None for digit in held]
            readings.append(Reading(digits[:count], confidence, probability[:count], named))
        return readings

    def _canvases(self, pictures: Sequence[Picture]) -> Tensor:
        """The pictures as the model sees them; B 1 H W, floats in [0, 1], ink on 0."""
        size = (self.model.spec.height, self.model.spec.width)
        return torch.stack([fit(ink(picture), size) for picture in pictures]).to(self.device)[:, None]


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Reader:
    """A reader from a run directory, weights or a checkpoint.

    Raises:
        FileNotFoundError, ValueError: nothing there, or nothing that can be loaded.
    """
    return Reader(*weights.load(Path(path), device))


def ink(picture: Picture) -> Tensor:
    """A picture as floats in [0, 1], the background (the median of its border) near 0; H W.

    Raises:
        FileNotFoundError, ValueError: no such file, or not an image.
    """
    grey = _grey(picture)
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return 1 - grey if border.median() > 0.5 else grey


def fit(grey: Tensor, size: tuple[int, int]) -> Tensor:
    """Ink of any size on a canvas of this size: as it is where it fits exactly, else cropped, scaled and centred."""
    if grey.shape == size:
        return grey
    inked = grey > _INK
    canvas = torch.zeros(size)
    if not inked.any():
        return canvas
    rows, cols = inked.any(1).nonzero()[:, 0], inked.any(0).nonzero()[:, 0]
    cropped = grey[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    room = [side - 2 * round(_MARGIN * min(size)) for side in size]
    scale = min(room[0] / cropped.shape[0], room[1] / cropped.shape[1])
    height, width = (max(1, round(side * scale)) for side in cropped.shape)
    scaled = F.interpolate(cropped[None, None], size=(height, width), mode="bilinear", antialias=True)[0, 0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = scaled
    return canvas


def _grey(picture: Picture) -> Tensor:
    """Floats in [0, 1]; H W."""
    if isinstance(picture, (str, os.PathLike)):
        picture = _open(Path(picture))
    if isinstance(picture, Image.Image):
        picture = np.asarray(_flat(picture))
    values = torch.as_tensor(np.array(picture) if isinstance(picture, np.ndarray) else picture).detach().cpu()
    if values.ndim not in (2, 3) or values.numel() == 0:
        raise ValueError(f"an image of shape {tuple(values.shape)}: give H W, H W C or C H W")
    if values.ndim == 3:
        if values.shape[0] not in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
            raise ValueError(f"an image of shape {tuple(values.shape)}: 1, 3 or 4 channels, first or last")
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
        if values.min() < 0 or values.max() > 255:
            raise ValueError(f"grey levels from {values.min()} to {values.max()}: give 0..255, or floats in [0, 1]")
        return values.float() / 255
    if not bool(torch.isfinite(values).all()) or values.min() < 0 or values.max() > 1:
        raise ValueError(f"grey levels from {values.min():g} to {values.max():g}: floats must lie in [0, 1]")
    return values.float()


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as problem:
        raise ValueError(f"{path} is not a readable image: {problem}") from problem
    return image


def _flat(image: Image.Image) -> Image.Image:
    """Grey, with transparent parts as paper."""
    if image.mode in ("L", "1"):
        return image.convert("L")
    if image.mode.startswith(("I", "F")):  # 16 and 32 bits a pixel
        values = np.asarray(image, dtype=np.float64)
        top = 65535 if values.max(initial=0) > 255 else 255
        return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("L")
