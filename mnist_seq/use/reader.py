"""Image in, digits out.

Shapes   B images   H W canvas of the model
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.data.pictures import Picture, ink
from mnist_seq.nn import attention_maps, decoding
from mnist_seq.nn.decoding import Readout
from mnist_seq.nn.model import Model
from mnist_seq.tokens import DIGITS
from mnist_seq.use import weights

_MARGIN = 4 / 28
"""Background around the ink of a fitted image, as a share of the canvas: MNIST's own."""
_INK = 0.3
"""Grey level above which a pixel counts as ink when an image is fitted, between background 0 and ink 1."""


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
    alternatives: list[Reading] = field(default_factory=list)
    """What else it might be, likeliest first, where beams were asked for."""

    def __str__(self) -> str:
        return " ".join(map(str, self.digits)) or "no digits"


class Reader:
    """A trained model that reads pictures."""

    def __init__(self, model: Model, card: dict[str, Any]) -> None:
        self.model, self.card = model.eval(), card

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def read(self, pictures: Picture | Sequence[Picture], beams: int = 1) -> Any:
        """Read a picture, or each of a list in one batch.

        Args:
            pictures: a path, PIL image, array or tensor: H W, H W C or C H W with 1, 3 or 4 channels; uint8, or floats
                in [0, 1]; light on dark or dark on light; one of the canvas' size is read as it is, any other is
                cropped to its ink and fitted.
            beams: readings followed at once by beam search; 1 reads greedily.

        Returns:
            A Reading, or a list of them.

        Raises:
            FileNotFoundError, ValueError: no such file, or not an image; beams of a model that writes no tokens.
        """
        if isinstance(pictures, (list, tuple)):
            return self._read(pictures, beams) if pictures else []
        return self._read([cast(Picture, pictures)], beams)[0]

    @torch.no_grad()
    def embed(self, pictures: Picture | Sequence[Picture]) -> Tensor:
        """The encoder's summary of a picture, D, or of each of a list, B D."""
        if isinstance(pictures, (list, tuple)):
            return self.model.embed(self._canvases(pictures))
        return self.model.embed(self._canvases([cast(Picture, pictures)]))[0]

    def attention_maps(self, picture: Picture) -> dict[str, Tensor]:
        """Where each head of each layer looks while it reads; H L S each, as `nn.attention_maps` says."""
        return {name: weights[0] for name, weights in attention_maps(self.model, self._canvases([picture])).items()}

    @torch.inference_mode()
    def _read(self, pictures: Sequence[Picture], beams: int) -> list[Reading]:
        canvases = self._canvases(pictures)
        if beams == 1:
            return _readings(self.model.read(canvases))
        if not isinstance(self.model, decoding.Writer):
            raise ValueError(f"beams={beams}: this model reads by cells and writes no tokens, leave it at 1")
        found = decoding.beam(self.model, canvases, beams, best=beams)
        ranked = [_readings(Readout(*(part[image] for part in found[:4]))) for image in range(len(pictures))]
        return [replace(best, alternatives=[it for it in others if it.confidence > 0]) for best, *others in ranked]

    def _canvases(self, pictures: Sequence[Picture]) -> Tensor:
        """The pictures as the model sees them; B 1 H W, floats in [0, 1], ink on 0."""
        size = (self.model.spec.height, self.model.spec.width)
        return torch.stack([fit(ink(picture), size) for picture in pictures]).to(self.device)[:, None]


def _readings(readout: Readout) -> list[Reading]:
    cells = [None] * len(readout.digits) if readout.cells is None else readout.cells.tolist()
    readings = []
    for digits, probability, confidence, held in zip(
        readout.digits.tolist(), readout.probability.tolist(), readout.confidence.tolist(), cells, strict=True
    ):
        count = sum(digit < DIGITS for digit in digits)
        named = held and [digit if digit < DIGITS else None for digit in held]
        readings.append(Reading(digits[:count], confidence, probability[:count], named))
    return readings


def load(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Reader:
    """A reader from a run directory, weights or a checkpoint.

    Raises:
        FileNotFoundError, ValueError: nothing there, or nothing that can be loaded.
    """
    return Reader(*weights.load(Path(path), device))


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
