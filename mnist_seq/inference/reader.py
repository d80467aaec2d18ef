"""Image in, digits out.

Shapes   B images   H W canvas of the model
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor

from mnist_seq.config.trust import Trust
from mnist_seq.data.image_io import ImageInput, load_image
from mnist_seq.errors import UserError
from mnist_seq.inference import weights
from mnist_seq.inference.preprocess import MIN_CONTRAST, fit_to_canvas
from mnist_seq.nn import compute_attention_maps
from mnist_seq.nn.beam_search import beam_search
from mnist_seq.nn.decoding import AutoregressiveModel, DecodeOutput
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import NUM_DIGITS

_BATCH_SIZE = 256
"""Pictures that are held, and sequences that are written, at a time: what bounds memory, however many are read."""


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
    blank: bool = False
    """No ink was found: there are no digits, with confidence 1, and the model was not asked."""

    def __str__(self) -> str:
        return " ".join(map(str, self.digits)) or "no digits"


class Reader:
    """A trained model that reads pictures."""

    def __init__(self, model: Model, card: dict[str, Any]) -> None:
        self.model, self.card = model.eval(), card

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def read(self, images: ImageInput | Sequence[ImageInput], num_beams: int = 1, channels: str | None = None) -> Any:
        """Read a picture, or each of a list in batches.

        Args:
            pictures: a path, PIL image, array or tensor, or a list of them. Arrays and tensors are H W, 1 H W or H W C
                with 1, 3 or 4 channels, in truth values, floats in [0, 1], uint8 or uint16, where white is the largest
                level of the fewest of 1, 8, 10, 12, 14 and 16 bits that hold all; light on dark or dark on light. One
                of the canvas' size is read as it is, any other is fitted to it, as `canvas` shows.
            beams: readings followed at once by beam search; 1 reads greedily.
            channels: where those of arrays are, `first` or `last`, if their shape alone does not say: 3 28 28 can be
                one picture or three.

        Returns:
            A Reading, or a list of them; one of a picture without ink has no digits, whatever the model.

        Raises:
            NotFoundError, UserError: no such file, or not an image, by its place in a list, where `stream` goes on;
                beams of a model that writes no tokens.
        """
        if not isinstance(images, (list, tuple)):
            return self.read_canvases(self._preprocess_batch([cast(ImageInput, images)], channels), num_beams)[0]
        readings = []
        for place, reading in enumerate(self.stream(images, num_beams, channels)):
            if isinstance(reading, UserError):
                raise type(reading)(f"pictures[{place}]: {reading}") from reading
            readings.append(reading)
        return readings

    def stream(
        self, images: Iterable[ImageInput], num_beams: int = 1, channels: str | None = None
    ) -> Iterator[Reading | UserError]:
        """Read any number of pictures, some at a time; where one cannot be read, its error stands in its place.

        Args:
            pictures, beams, channels: as for `read`.
        """
        rest = iter(images)
        while batch := list(islice(rest, _BATCH_SIZE)):
            seen = [self._preprocess_or_error(picture, channels) for picture in batch]
            canvases = [canvas for canvas in seen if isinstance(canvas, Tensor)]
            readings = iter(self.read_canvases(torch.stack(canvases), num_beams) if canvases else [])
            for canvas in seen:
                yield canvas if isinstance(canvas, UserError) else next(readings)

    def preprocess(self, image: ImageInput, channels: str | None = None) -> Tensor:
        """A picture as the model sees it; H W, floats in [0, 1], ink on 0.

        One of the canvas' size stays as it is, if need be turned round to light on dark. Of any other the ink is found,
        whatever the light and the paper, and drawn with digits as tall and strokes as strong as the model knows.

        Raises:
            FileNotFoundError, ValueError: as for `read`.
        """
        spec = self.model.spec
        return fit_to_canvas(load_image(image, channels), (spec.height, spec.width), spec.digit_size)

    @torch.inference_mode()
    def read_canvases(self, canvases: Tensor, num_beams: int = 1) -> list[Reading]:
        """Read what `canvas` gave.

        Args:
            canvases: B H W or B 1 H W, floats in [0, 1], ink on 0.

        Raises:
            ValueError: canvases of another size, or beams of a model that writes no tokens.
        """
        spec = self.model.spec
        images = canvases if canvases.ndim == 4 else canvases[:, None]
        if images.shape[1:] != (1, spec.height, spec.width):
            raise UserError(f"canvases of shape {tuple(canvases.shape)}: give B {spec.height} {spec.width}")
        if num_beams != 1 and not isinstance(self.model, AutoregressiveModel):
            raise UserError(f"num_beams={num_beams}: this model is not autoregressive, use num_beams=1")
        inked = images.amax((1, 2, 3)) - images.amin((1, 2, 3)) >= MIN_CONTRAST
        parts = images[inked].split(max(1, _BATCH_SIZE // max(num_beams, 1))) if inked.any() else ()
        found = iter([reading for part in parts for reading in self._decode(part.to(self.device), num_beams)])
        return [next(found) if any_ink else self._blank_reading() for any_ink in inked.tolist()]

    @torch.no_grad()
    def embed(self, images: ImageInput | Sequence[ImageInput], channels: str | None = None) -> Tensor:
        """The encoder's summary of a picture, D, or of each of a list, B D."""
        if not isinstance(images, (list, tuple)):
            return self.embed([cast(ImageInput, images)], channels)[0]
        parts = [images[first : first + _BATCH_SIZE] for first in range(0, len(images), _BATCH_SIZE)]
        return torch.cat([self.model.embed(self._preprocess_batch(part, channels)) for part in parts])

    def attention_maps(self, image: ImageInput, channels: str | None = None) -> dict[str, Tensor]:
        """Where each head of each layer looks while it reads; H L S each, as `nn.attention_maps` says."""
        maps = compute_attention_maps(self.model, self._preprocess_batch([image], channels))
        return {name: weights[0] for name, weights in maps.items()}

    def _decode(self, images: Tensor, num_beams: int) -> list[Reading]:
        if num_beams == 1:
            return _to_readings(self.model.read(images))
        found = beam_search(cast(AutoregressiveModel, self.model), images, num_beams, num_return_sequences=num_beams)
        ranked = [_to_readings(DecodeOutput(*(part[image] for part in found[:4]))) for image in range(len(images))]
        return [replace(best, alternatives=[it for it in others if it.confidence > 0]) for best, *others in ranked]

    def _preprocess_batch(self, images: Sequence[ImageInput], channels: str | None) -> Tensor:
        """B 1 H W."""
        return torch.stack([self.preprocess(picture, channels) for picture in images]).to(self.device)[:, None]

    def _preprocess_or_error(self, image: ImageInput, channels: str | None) -> Tensor | UserError:
        try:
            return self.preprocess(image, channels)
        except UserError as problem:
            return problem

    def _blank_reading(self) -> Reading:
        rows, cols = self.model.spec.cells
        return Reading([], 1.0, [], [None] * (rows * cols) if self.model.output_type == "cells" else None, blank=True)


def _to_readings(output: DecodeOutput) -> list[Reading]:
    cells = [None] * len(output.digits) if output.cells is None else output.cells.tolist()
    readings = []
    for digits, probability, confidence, held in zip(
        output.digits.tolist(), output.probs.tolist(), output.confidence.tolist(), cells, strict=True
    ):
        count = sum(digit < NUM_DIGITS for digit in digits)
        named = held and [digit if digit < NUM_DIGITS else None for digit in held]
        readings.append(Reading(digits[:count], confidence, probability[:count], named))
    return readings


def load(run: str | os.PathLike[str], device: torch.device | str = "cpu", trust: Trust = None) -> Reader:
    """A reader from a run directory, weights, a checkpoint, or `pretrained:NAME`.

    Raises:
        FileNotFoundError, ValueError: nothing there, or nothing that can be loaded.
    """
    return Reader(*weights.load(run, device, trust))
