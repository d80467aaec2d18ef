"""Read images: image in, digits out.

Shapes   B images   H W canvas of the model   D model dim
"""

from __future__ import annotations

import os
import warnings
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
"""Images held, and sequences decoded, at a time: this bounds memory however many images are read."""


@dataclass(frozen=True)
class Reading:
    """The digits of one image, with probabilities."""

    digits: list[int]
    confidence: float
    """Probability of the whole sequence, end token included."""
    per_digit: list[float]
    """Probability of each digit, given the previous ones."""
    cells: list[int | None] | None = None
    """Digit of each cell of the canvas in raster order, if the model's output type is `cells`."""
    alternatives: list[Reading] = field(default_factory=list)
    """The other beams, most probable first, if `num_beams` is above 1."""
    blank: bool = False
    """No ink was found: no digits, confidence 1, and the model was not run."""

    def __str__(self) -> str:
        return " ".join(map(str, self.digits)) or "no digits"


class Reader:
    """A trained model with preprocessing: reads images of any size."""

    def __init__(self, model: Model, card: dict[str, Any]) -> None:
        self.model, self.card = model.eval(), card

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def read(
        self,
        images: ImageInput | Sequence[ImageInput],
        num_beams: int = 1,
        channels: str | None = None,
        beams: int | None = None,
    ) -> Any:
        """Read an image, or a list of images in batches.

        Args:
            images: a path, PIL image, array or tensor, or a list of them. Arrays and tensors are H W, 1 H W or H W C
                with 1, 3 or 4 channels, as bool, floats in [0, 1], uint8 or uint16; white of integers is the largest
                level of the smallest of 1, 8, 10, 12, 14 and 16 bits that holds all values. Ink may be light on dark
                or dark on light. An image of the canvas' size is read as it is; any other is fitted to the canvas by
                `preprocess`.
            num_beams: beam width; 1 decodes greedily.
            channels: `first` or `last`, for arrays whose shape is ambiguous: 3 28 28 can be one image or three.
            beams: deprecated name of `num_beams`.

        Returns:
            A Reading, or a list of them. An image without ink has no digits.

        Raises:
            NotFoundError: no such file.
            UserError: not an image; or beams for a model that is not autoregressive. For a list, the message names
                the index of the image; `stream` continues with the others.
        """
        if beams is not None:
            warnings.warn("Reader.read(beams=...) is deprecated: use num_beams", FutureWarning, stacklevel=2)
            num_beams = beams
        if not isinstance(images, (list, tuple)):
            return self.read_canvases(self._preprocess_batch([cast(ImageInput, images)], channels), num_beams)[0]
        readings = []
        for index, reading in enumerate(self.stream(images, num_beams, channels)):
            if isinstance(reading, UserError):
                raise type(reading)(f"images[{index}]: {reading}") from reading
            readings.append(reading)
        return readings

    def stream(
        self, images: Iterable[ImageInput], num_beams: int = 1, channels: str | None = None
    ) -> Iterator[Reading | UserError]:
        """Read any number of images, a batch at a time; an image that cannot be read yields its error.

        Args:
            images, num_beams, channels: as in `read`.
        """
        remaining = iter(images)
        while batch := list(islice(remaining, _BATCH_SIZE)):
            results = [self._preprocess_or_error(image, channels) for image in batch]
            canvases = [canvas for canvas in results if isinstance(canvas, Tensor)]
            readings = iter(self.read_canvases(torch.stack(canvases), num_beams) if canvases else [])
            for result in results:
                yield result if isinstance(result, UserError) else next(readings)

    def preprocess(self, image: ImageInput, channels: str | None = None) -> Tensor:
        """Convert an image to the model's input; H W, floats in [0, 1], ink on 0.

        An image of the canvas' size only has its polarity corrected. For any other size the ink is found, whatever
        the light and the paper, and drawn with digits and strokes of the size that the model was trained on.

        Args:
            image, channels: as in `read`.

        Raises:
            NotFoundError: no such file.
            UserError: not an image.
        """
        spec = self.model.spec
        return fit_to_canvas(load_image(image, channels), (spec.height, spec.width), spec.digit_size)

    @torch.inference_mode()
    def read_canvases(self, canvases: Tensor, num_beams: int = 1) -> list[Reading]:
        """Read images that `preprocess` returned.

        Args:
            canvases: B H W or B 1 H W, floats in [0, 1], ink on 0.
            num_beams: beam width; 1 decodes greedily.

        Raises:
            UserError: canvases of another size; or beams for a model that is not autoregressive.
        """
        spec = self.model.spec
        images = canvases if canvases.ndim == 4 else canvases[:, None]
        if images.shape[1:] != (1, spec.height, spec.width):
            raise UserError(f"canvases of shape {tuple(canvases.shape)}: give B {spec.height} {spec.width}")
        if num_beams != 1 and not isinstance(self.model, AutoregressiveModel):
            raise UserError(f"num_beams={num_beams}: this model is not autoregressive, use num_beams=1")
        has_ink = images.amax((1, 2, 3)) - images.amin((1, 2, 3)) >= MIN_CONTRAST
        batches = images[has_ink].split(max(1, _BATCH_SIZE // max(num_beams, 1))) if has_ink.any() else ()
        readings = iter([reading for batch in batches for reading in self._decode(batch.to(self.device), num_beams)])
        return [next(readings) if inked else self._blank_reading() for inked in has_ink.tolist()]

    @torch.no_grad()
    def embed(self, images: ImageInput | Sequence[ImageInput], channels: str | None = None) -> Tensor:
        """Return the encoder's pooled features of an image, D, or of a list of images, B D.

        Args:
            images, channels: as in `read`.
        """
        if not isinstance(images, (list, tuple)):
            return self.embed([cast(ImageInput, images)], channels)[0]
        batches = [images[start : start + _BATCH_SIZE] for start in range(0, len(images), _BATCH_SIZE)]
        return torch.cat([self.model.embed(self._preprocess_batch(batch, channels)) for batch in batches])

    def attention_maps(self, image: ImageInput, channels: str | None = None) -> dict[str, Tensor]:
        """Return the attention weights of every layer; heads x queries x keys each, rows sum to 1.

        See `nn.attention_maps` for the names of the layers.
        """
        maps = compute_attention_maps(self.model, self._preprocess_batch([image], channels))
        return {name: attention[0] for name, attention in maps.items()}

    def _decode(self, images: Tensor, num_beams: int) -> list[Reading]:
        """Decode images, B 1 H W, with their alternatives."""
        if num_beams == 1:
            return _to_readings(self.model.read(images))
        model = cast(AutoregressiveModel, self.model)
        output = beam_search(model, images, num_beams, num_return_sequences=num_beams)
        beams = [_to_readings(output.select(index)) for index in range(len(images))]
        return [replace(best, alternatives=[beam for beam in rest if beam.confidence > 0]) for best, *rest in beams]

    def _preprocess_batch(self, images: Sequence[ImageInput], channels: str | None) -> Tensor:
        """Preprocess images on the model's device; B 1 H W."""
        return torch.stack([self.preprocess(image, channels) for image in images]).to(self.device)[:, None]

    def _preprocess_or_error(self, image: ImageInput, channels: str | None) -> Tensor | UserError:
        try:
            return self.preprocess(image, channels)
        except UserError as error:
            return error

    def _blank_reading(self) -> Reading:
        rows, cols = self.model.spec.cells
        cells: list[int | None] | None = [None] * (rows * cols) if self.model.output_type == "cells" else None
        return Reading([], 1.0, [], cells, blank=True)


def _to_readings(output: DecodeOutput) -> list[Reading]:
    cells = [None] * len(output.digits) if output.cells is None else output.cells.tolist()
    readings = []
    for digits, probs, confidence, classes in zip(
        output.digits.tolist(), output.probs.tolist(), output.confidence.tolist(), cells, strict=True
    ):
        length = sum(digit < NUM_DIGITS for digit in digits)
        cell_digits = classes and [digit if digit < NUM_DIGITS else None for digit in classes]
        readings.append(Reading(digits[:length], confidence, probs[:length], cell_digits))
    return readings


def load(run: str | os.PathLike[str], device: torch.device | str = "cpu", trust: Trust = None) -> Reader:
    """Load a model to read with.

    Args:
        run: a run directory, weights, a checkpoint or `pretrained:NAME`.
        trust: whether the class of a model from outside the package may be imported.

    Raises:
        NotFoundError: nothing to load at `run`.
        UserError: a damaged file, or code that is not trusted.
    """
    return Reader(*weights.load(run, device, trust))
