"""A reader that ONNX Runtime runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from mnist_seq.config.validation import check
from mnist_seq.data.preprocess import Canvases, batch_pictures, pad_pictures
from mnist_seq.inference.onnx_export import DECODER_METADATA, ROWS_METADATA, create_session
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import NUM_DIGITS


class OnnxReader(Reader):
    """A reader whose pictures ONNX Runtime reads, preprocessing included; beams and `locate` are left to torch.

    Args:
        graph: of the model, as `build_graph` returns it.
        num_threads: threads of ONNX Runtime; 0 lets it choose.

    Raises:
        UserError: a model that classifies cells, which the graph does not return; or the extra `onnx` is not installed.
    """

    def __init__(self, model: Model, card: dict[str, Any], graph: bytes, num_threads: int = 0) -> None:
        super().__init__(model, card)
        check_returns_readings(model)
        self._session = create_session(graph, num_threads)

    def _read_pictures(self, pictures: Iterable[Tensor], num_beams: int, locate: bool) -> list[Reading]:
        if num_beams != 1 or locate:
            return super()._read_pictures(pictures, num_beams, locate)
        return [reading for batch in batch_pictures(pictures) for reading in self._read_batch(batch)]

    def _read_batch(self, pictures: Sequence[Tensor]) -> list[Reading]:
        padded, sizes = pad_pictures(pictures)
        inputs = {"pictures": padded.numpy(), "sizes": sizes.numpy()}
        outputs = self._session.run([*DECODER_METADATA, *ROWS_METADATA], inputs)
        predicted, rows = outputs[: len(DECODER_METADATA)], outputs[len(DECODER_METADATA) :]
        readings = []
        for digits, probs, confidence in zip(*(it.tolist() for it in predicted), strict=True):
            length = sum(digit < NUM_DIGITS for digit in digits)
            without_ink = length == 0 and confidence == 1  # otherwise the graph clamps it below 1
            reading = Reading(digits[:length], confidence, probs[:length])
            readings.append(self._blank_reading() if without_ink else reading)
        return self.join_rows(readings, Canvases(torch.empty(0), *map(torch.from_numpy, rows)))


def returns_readings(model: Model) -> bool:
    """Whether the graph of a model returns all that a reading has; it cannot return cells."""
    return model.output_type == "sequence"


def check_returns_readings(model: Model) -> None:
    """
    Raises:
        UserError: a model that classifies cells.
    """
    check(returns_readings(model), "engine=onnx cannot return cells, which this model predicts: use engine=torch")
