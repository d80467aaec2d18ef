"""A reader as one ONNX graph: images in, digits and probabilities out, for runtimes that know nothing of torch.

Decoding is a fixed number of steps, so the graph holds them one after the other and needs no loop.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mnist_seq.atomic_io import atomic_path
from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import PAD

OUTPUT_NAMES = ("digits", "probability", "confidence")
IO_METADATA = {
    "images": "uint8 (batch, 1, {height}, {width}): grey levels, light ink on a background of 0",
    "digits": f"int64 (batch, {{longest}}): digits in reading order, then {PAD}",
    "probability": "float32 (batch, {longest}): of each digit given those before it, 1 after the last",
    "confidence": "float32 (batch,): probability of the whole reading, its end included",
}
"""What the graph takes and gives; kept in its metadata."""


class _GreedyDecoder(nn.Module):
    """Reads; what `torch.onnx` is shown."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        readout = self.model.read(images)
        return readout.digits, readout.probs, readout.confidence


def export_onnx(model: Model, path: Path, card: dict[str, Any]) -> None:
    """Write a model as a graph for any number of images at once, what it takes and its card in the metadata.

    Raises:
        ValueError: the packages for it are missing, or a part of the model has no counterpart in ONNX.
    """
    check_extra("ONNX", "onnx")
    spec = model.spec
    images = torch.zeros(2, 1, spec.height, spec.width, dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _GreedyDecoder(model).eval(),
                (images,),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=OUTPUT_NAMES,
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            )
    except torch.onnx.errors.OnnxExporterError as problem:
        raise UserError(
            f"format=onnx: {type(model).__name__} cannot be written: {str(problem).splitlines()[0]}"
        ) from problem
    assert program is not None
    sizes = {"height": spec.height, "width": spec.width, "longest": spec.max_length}
    program.model.metadata_props.update({key: text.format(**sizes) for key, text in IO_METADATA.items()})
    program.model.metadata_props["card"] = json.dumps(card)
    with atomic_path(path) as beside:
        program.save(beside)


def load_predictor(path: Path) -> Callable[[Tensor], Tensor]:
    """What a graph reads: images, B 1 H W, to digits, B T."""
    runtime = create_session(path)
    return lambda images: torch.from_numpy(runtime.run(["digits"], {"images": images.numpy()})[0])


def create_session(path: Path, num_threads: int = 0) -> Any:
    """ONNX Runtime's session of a graph, which tells nobody of it.

    Args:
        threads: 0 leaves it to ONNX Runtime.
    """
    check_extra("ONNX", "onnx")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or idle threads slow all else down
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
