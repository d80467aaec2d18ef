"""A reader that looks at pictures: what it sees, what it reads, and where it looks for each digit."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mnist_seq.data.image_io import ImageInput
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.nn.attention_maps import attention_on_image

BEAMS = 5
"""Readings followed at once, where a model writes."""


@dataclass(frozen=True)
class Look:
    """At one picture."""

    canvas: np.ndarray
    """The picture as the model sees it: H W, floats in [0, 1], ink on 0; several rows one below the other."""
    reading: Reading
    attention: list[tuple[str, np.ndarray]] = field(default_factory=list)
    """For each digit that is read, and for the end where the model writes one: its name and the weight of each pixel,
    H W. Empty where a model has no such attention, or reads several rows."""


_one_at_a_time = threading.Lock()
"""Attention is seen through hooks on the model, which all visitors share."""


def look(reader: Reader, pictures: Sequence[ImageInput]) -> list[Look]:
    """Look at each of several pictures.

    Raises:
        ValueError: not an image.
    """
    beams = BEAMS if reader.model.output_type == "sequence" else 1
    canvases = reader.preprocess(pictures)
    with _one_at_a_time:
        looks = []
        for index, reading in enumerate(reader.read_preprocessed(canvases, beams)):
            rows = canvases.images[canvases.picture == index]
            attention = [] if reading.blank or len(rows) > 1 else _attention(reader, rows[0], reading)
            looks.append(Look(rows.flatten(0, 1).cpu().numpy(), reading, attention))
        return looks


def _attention(reader: Reader, canvas: torch.Tensor, reading: Reading) -> list[tuple[str, np.ndarray]]:
    """Of the last layer that looks at the image, the mean of its heads."""
    digits = torch.tensor([reading.digits], dtype=torch.int64, device=reader.device)
    found = list(attention_on_image(reader.model, canvas.to(reader.device)[None, None], digits).values())
    if not found:
        return []
    weights = found[-1][0].mean(0).cpu().numpy()
    if reader.model.output_type == "sequence":
        names = [*map(str, reading.digits), "end"]
    elif reading.cells and len(weights) == len(reading.cells):
        names = ["" if digit is None else str(digit) for digit in reading.cells]
    else:
        names = ["all"]
    return [(name, at) for name, at in zip(names, weights, strict=False) if name]
