"""Export a model as one ONNX graph: images in, digits and probabilities out, for runtimes without torch.

Decoding takes a fixed number of steps, so they are unrolled in the graph, without a loop.

Shapes   B images   H W canvas   T longest sequence
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
    "digits": f"int64 (batch, {{max_length}}): digits in reading order, then {PAD}",
    "probability": "float32 (batch, {max_length}): probability of each digit given the previous ones, then 1",
    "confidence": "float32 (batch,): probability of the whole sequence, end token included",
}
"""Inputs and outputs of the graph; stored in its metadata."""


class _GreedyDecoder(nn.Module):
    """Greedy decoding, as `torch.onnx` traces it."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = self.model.read(images)
        return output.digits, output.probs, output.confidence


def export_onnx(model: Model, path: Path, card: dict[str, Any]) -> None:
    """Write a model as an ONNX graph with a dynamic batch size; metadata: `IO_METADATA` and the card.

    Raises:
        UserError: the extra `onnx` is not installed, or the model has an operator without an ONNX counterpart.
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
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"format=onnx: {type(model).__name__} cannot be exported: {reason}") from error
    assert program is not None
    sizes = {"height": spec.height, "width": spec.width, "max_length": spec.max_length}
    program.model.metadata_props.update({key: text.format(**sizes) for key, text in IO_METADATA.items()})
    program.model.metadata_props["card"] = json.dumps(card)
    with atomic_path(path) as temp_path:
        program.save(temp_path)


def load_predictor(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a graph as a function from images, B 1 H W, uint8, to digits, B T, int64."""
    session = create_session(path)
    return lambda images: torch.from_numpy(session.run(["digits"], {"images": images.numpy()})[0])


def create_session(path: Path, num_threads: int = 0) -> Any:
    """Create an ONNX Runtime session on the CPU, with telemetry off.

    Args:
        num_threads: threads per operator; 0 lets ONNX Runtime choose.
    """
    check_extra("ONNX", "onnx")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads slow everything else
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
