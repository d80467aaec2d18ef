"""Read images: image in, digits out.

Shapes   B images   K canvases: rows of all images   H W canvas of the model   D model dim
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mnist_seq.config.trust import Trust
from mnist_seq.data.image_io import ImageInput, load_rgba
from mnist_seq.data.preprocess import Canvases, Preprocess, has_ink, preprocess_batches
from mnist_seq.data.row_detection import MAX_ROWS
from mnist_seq.errors import UserError
from mnist_seq.inference import weights
from mnist_seq.inference.locate import locate_digits
from mnist_seq.inference.platt_scaling import PlattScaling
from mnist_seq.inference.reading import Reading, join_rows, to_readings
from mnist_seq.nn import compute_attention_maps
from mnist_seq.nn.beam_search import beam_search
from mnist_seq.nn.decoding import AutoregressiveModel
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import PAD

_BATCH_SIZE = 256
"""Images held, and sequences decoded, at a time: this bounds memory however many images are read."""


class Reader:
    """A trained model with preprocessing: reads images of any size."""

    def __init__(self, model: Model, card: dict[str, Any]) -> None:
        self.model, self.card = model.eval(), card
        self._preprocess, self._scaling = Preprocess(model.spec), PlattScaling.from_card(card)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def read(
        self,
        images: ImageInput | Sequence[ImageInput],
        num_beams: int = 1,
        channels: str | None = None,
        beams: int | None = None,
        locate: bool = False,
    ) -> Any:
        """Read an image, or a list of images in batches.

        Args:
            images: a path, PIL image, array or tensor, or a list of them. Arrays and tensors are H W, 1 H W or H W C
                with 1, 3 or 4 channels, as bool, floats in [0, 1], uint8 or uint16; white of integers is the largest
                level of the smallest of 1, 8, 10, 12, 14 and 16 bits that holds all values. Ink may be light on dark
                or dark on light. `preprocess` says how an image becomes the model's input.
            num_beams: beam width; 1 decodes greedily.
            channels: `first` or `last`, for arrays whose shape is ambiguous: 3 28 28 can be one image or three.
            beams: deprecated name of `num_beams`.
            locate: find where each digit stands too, `Reading.positions`, by the decoder's attention.

        Returns:
            A Reading, or a list of them. An image without ink has no digits.

        Raises:
            NotFoundError: no such file.
            UserError: not an image; beams for a model that is not autoregressive; or `locate` for one without
                cross-attention over patches. For a list, the message names the index of the image; `stream` continues
                with the others.
        """
        if beams is not None:
            warnings.warn("Reader.read(beams=...) is deprecated: use num_beams", FutureWarning, stacklevel=2)
            num_beams = beams
        if not isinstance(images, (list, tuple)):
            return self._read_pictures([load_rgba(cast(ImageInput, images), channels)], num_beams, locate)[0]
        readings = []
        for index, reading in enumerate(self.stream(images, num_beams, channels, locate)):
            if isinstance(reading, UserError):
                raise type(reading)(f"images[{index}]: {reading}") from reading
            readings.append(reading)
        return readings

    def stream(
        self, images: Iterable[ImageInput], num_beams: int = 1, channels: str | None = None, locate: bool = False
    ) -> Iterator[Reading | UserError]:
        """Read any number of images, a batch at a time; an image that cannot be read yields its error.

        Args:
            images, num_beams, channels, locate: as in `read`.
        """
        remaining = iter(images)
        while batch := list(islice(remaining, _BATCH_SIZE)):
            errors: dict[int, UserError] = {}
            readings = iter(self._read_pictures(_load_all(batch, channels, errors), num_beams, locate))
            for index in range(len(batch)):
                yield errors[index] if index in errors else next(readings)

    def _read_pictures(self, pictures: Iterable[Tensor], num_beams: int, locate: bool) -> list[Reading]:
        """Read pictures, 4 H W each: RGBA in 8 bits."""
        return self.read_preprocessed(preprocess_batches(self._preprocess, pictures), num_beams, locate)

    def preprocess(self, images: ImageInput | Sequence[ImageInput], channels: str | None = None) -> Canvases:
        """Convert an image, or a list of images, to the model's input: find what is written, and draw it on canvases.

        A model that reads a single row of digits gets each row of an image on its own canvas. An image of the canvas'
        size is not cut; on a black background it is unchanged.

        Args:
            images, channels: as in `read`.

        Raises:
            NotFoundError: no such file.
            UserError: not an image.
        """
        several = images if isinstance(images, (list, tuple)) else [images]
        return preprocess_batches(self._preprocess, (load_rgba(image, channels) for image in several))

    def read_preprocessed(self, canvases: Canvases, num_beams: int = 1, locate: bool = False) -> list[Reading]:
        """Read images that `preprocess` returned: a reading for each image.

        Args:
            num_beams, locate: as in `read`.

        Raises:
            UserError: as `read`.
        """
        readings = self.read_canvases(canvases.images, num_beams)
        return self.join_rows(self._locate(readings, canvases) if locate else readings, canvases)

    def _locate(self, readings: list[Reading], canvases: Canvases) -> list[Reading]:
        """Add where the digits stand in the images that the canvases show parts of."""
        size, located = torch.tensor(canvases.images.shape[:0:-1]), []
        for start in range(0, len(readings), _BATCH_SIZE):
            part = slice(start, start + _BATCH_SIZE)
            digits = pad_sequence([torch.tensor(it.digits).long() for it in readings[part]], True, PAD)
            on_canvas = locate_digits(self.model, *(it.to(self.device) for it in (canvases.images[part, None], digits)))
            corners, ends = canvases.windows[part, None].split(2, -1)
            positions = corners + on_canvas.cpu() / size * (ends - corners)
            for reading, points in zip(readings[part], positions.tolist(), strict=True):
                located.append(replace(reading, positions=[(x, y) for x, y in points[: len(reading.digits)]]))
        return located

    def join_rows(self, readings: Sequence[Reading], canvases: Canvases) -> list[Reading]:
        """Join the readings of preprocessed canvases, K, into one for each image."""
        max_length, images = self.model.spec.max_length, dict[int, list[Reading]]()
        columns = [it.tolist() for it in canvases[1:]]
        for reading, picture, window, num_shapes, _ in zip(readings, *columns, strict=True):
            message = f"{num_shapes} separate shapes found, but this model reads at most {max_length}"
            warning = message if num_shapes > max_length else ""
            row = replace(reading, box=None if reading.blank else tuple(window), warning=warning)
            images.setdefault(picture, []).append(row)
        num_omitted = dict(zip(canvases.picture.tolist(), canvases.num_omitted.tolist(), strict=True))
        return [_warn_of_omitted_rows(join_rows(rows), num_omitted[picture]) for picture, rows in images.items()]

    @torch.inference_mode()
    def read_canvases(self, canvases: Tensor, num_beams: int = 1) -> list[Reading]:
        """Read images of the model's canvas as they are.

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
        inked = has_ink(images[:, 0])
        batches = images[inked].split(max(1, _BATCH_SIZE // max(num_beams, 1))) if inked.any() else ()
        readings = iter([reading for batch in batches for reading in self._decode(batch.to(self.device), num_beams)])
        return [next(readings) if is_inked else self._blank_reading() for is_inked in inked.tolist()]

    @torch.no_grad()
    def embed(self, images: ImageInput | Sequence[ImageInput], channels: str | None = None) -> Tensor:
        """Return the encoder's pooled features of an image, D, or of a list of images, B D.

        Args:
            images, channels: as in `read`.
        """
        if not isinstance(images, (list, tuple)):
            return self.embed([cast(ImageInput, images)], channels)[0]
        starts = range(0, len(images), _BATCH_SIZE) or [0]  # no images have features of shape 0 D
        batches = [images[start : start + _BATCH_SIZE] for start in starts]
        return torch.cat([self._embed(self.preprocess(batch, channels)) for batch in batches])

    def _embed(self, canvases: Canvases) -> Tensor:
        """Return the features of each image, the mean of its rows'; B D."""
        features = self.model.embed(canvases.images[:, None].to(self.device))
        counts = canvases.picture.bincount()
        sums = features.new_zeros(len(counts), features.shape[1]).index_add(
            0, canvases.picture.to(self.device), features
        )
        return sums / counts.to(self.device)[:, None]

    def attention_maps(self, image: ImageInput, channels: str | None = None) -> dict[str, Tensor]:
        """Return the attention weights of every layer; heads x queries x keys each, rows sum to 1.

        For an image with several rows, the first is used. See `nn.attention_maps` for the names of the layers.
        """
        canvases = self.preprocess([image], channels).images[:1, None].to(self.device)
        return {name: attention[0] for name, attention in compute_attention_maps(self.model, canvases).items()}

    def _decode(self, images: Tensor, num_beams: int) -> list[Reading]:
        """Decode images, B 1 H W, with their alternatives."""
        if num_beams == 1:
            return to_readings(self._scaling.rescore(self.model.read(images)))
        model = cast(AutoregressiveModel, self.model)
        output = beam_search(model, images, num_beams, num_return_sequences=num_beams)
        readings = []
        for index in range(len(images)):
            beams = output.select(index)
            exists = beams.score > -torch.inf  # there may be fewer sequences than beams
            best, *alternatives = to_readings(self._scaling.rescore_beams(beams.select(exists)))
            readings.append(replace(best, alternatives=alternatives))
        return readings

    def _blank_reading(self) -> Reading:
        rows, cols = self.model.spec.cells
        cells: list[int | None] | None = [None] * (rows * cols) if self.model.output_type == "cells" else None
        return Reading([], 1.0, [], cells, blank=True)


def _load_all(images: Iterable[ImageInput], channels: str | None, errors: dict[int, UserError]) -> Iterator[Tensor]:
    """Yield the images that can be loaded, 4 H W each; the errors of the others are added by index."""
    for index, image in enumerate(images):
        try:
            yield load_rgba(image, channels)
        except UserError as error:
            errors[index] = error


def _warn_of_omitted_rows(reading: Reading, num_omitted: int) -> Reading:
    if num_omitted == 0:
        return reading
    warning = f"{num_omitted} more rows of writing found, but at most {MAX_ROWS} are read"
    return replace(reading, warning="; ".join(filter(None, (reading.warning, warning))))


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
