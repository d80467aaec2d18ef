"""Export a model as one ONNX graph: pictures in, digits and probabilities out, for runtimes without torch.

The graph holds the preprocessing, and greedy decoding with its fixed number of steps unrolled, without a loop.

Shapes   B pictures   Y X padded size of the pictures   K canvases: rows of all pictures   h w canvas
         T longest sequence
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
from mnist_seq.data.preprocess import Preprocess, has_ink
from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra
from mnist_seq.inference.platt_scaling import PlattScaling
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import PAD

PICTURES_METADATA = {
    "pictures": "uint8 (batch, 4, height, width): red, green, blue and alpha, each picture in the upper left corner of "
    "a plane that is 0 elsewhere",
    "sizes": "int64 (batch, 2): height and width of each picture, pixels",
}
"""Inputs of a graph that reads pictures of any size; stored in its metadata."""
CANVASES_METADATA = {"images": "uint8 (batch, 1, {height}, {width}): grey levels, light ink on a background of 0"}
"""Input of a graph without preprocessing; stored in its metadata."""
DECODER_METADATA = {
    "digits": f"int64 (rows, {{max_length}}): digits in reading order, then {PAD}",
    "probability": "float32 (rows, {max_length}): probability of each digit given the previous ones, then 1",
    "confidence": "float32 (rows,): probability that the whole sequence is right, its end included",
}
"""Outputs of both graphs; stored in their metadata."""
ROWS_METADATA = {
    "picture": "int64 (rows,): index of the picture of each row; the rows of a picture come from top to bottom",
    "window": "float32 (rows, 4): x0 y0 x1 y1, the part of the picture that was read, pixels",
    "num_shapes": "int64 (rows,): separate shapes of a digit's height; more than {max_length} cannot be read",
}
"""Further outputs of a graph that reads pictures; stored in its metadata."""


class _CanvasReader(nn.Module):
    """Greedy decoding, as `torch.onnx` traces it."""

    def __init__(self, model: Model, scale_confidence: PlattScaling) -> None:
        super().__init__()
        self.model, self.scale_confidence = model, scale_confidence

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.model.read(images)
        return output.digits, output.probs, self.scale_confidence(output.confidence)


class _PictureReader(nn.Module):
    """Preprocessing and greedy decoding: what `Reader.read` does from RGBA on, row by row."""

    def __init__(self, model: Model, scale_confidence: PlattScaling) -> None:
        super().__init__()
        self.preprocess, self.canvas_reader = Preprocess(model.spec), _CanvasReader(model, scale_confidence)

    def forward(self, pictures: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        canvases = self.preprocess(pictures, sizes)
        digits, probs, confidence = self.canvas_reader(canvases.images[:, None])
        inked = has_ink(canvases.images)
        digits, probs = torch.where(inked[:, None], digits, PAD), torch.where(inked[:, None], probs, 1.0)
        return digits, probs, torch.where(inked, confidence, 1.0), *canvases[1:]


def export_onnx(model: Model, path: Path, card: dict[str, Any], include_preprocessing: bool = True) -> None:
    """Write a model as an ONNX graph; its metadata describes inputs and outputs and holds the card.

    Args:
        include_preprocessing: read pictures of any size; else canvases of the model.

    Raises:
        UserError: the extra `onnx` is not installed, or the model has an operator without an ONNX counterpart.
    """
    check_extra("ONNX", "onnx")
    spec, batch = model.spec, torch.export.Dim("batch", min=1)
    scale_confidence = PlattScaling.from_card(card)
    if include_preprocessing:
        module: nn.Module = _PictureReader(model, scale_confidence)
        # the traced example has more rows than pictures, and another size than the canvas
        height, width = (torch.export.Dim(name, min=1) for name in ("height", "width"))
        inputs: tuple[Tensor, ...] = (_example_pictures(), torch.tensor([[90, 70], [80, 75]]))
        dynamic_shapes = {"pictures": {0: batch, 2: height, 3: width}, "sizes": {0: batch}}
        metadata = PICTURES_METADATA | DECODER_METADATA | ROWS_METADATA
    else:
        module = _CanvasReader(model, scale_confidence)
        inputs = (torch.zeros(2, 1, spec.height, spec.width, dtype=torch.uint8),)
        dynamic_shapes, metadata = {"images": {0: batch}}, CANVASES_METADATA | DECODER_METADATA
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                inputs,
                dynamo=True,
                verbose=False,
                input_names=list(dynamic_shapes),
                output_names=[name for name in metadata if name not in dynamic_shapes],
                dynamic_shapes=dynamic_shapes,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"format=onnx: {type(model).__name__} cannot be exported: {reason}") from error
    assert program is not None
    sizes = {"height": spec.height, "width": spec.width, "max_length": spec.max_length}
    program.model.metadata_props.update({key: text.format(**sizes) for key, text in metadata.items()})
    program.model.metadata_props["card"] = json.dumps(card)
    with atomic_path(path) as temp_path:
        program.save(temp_path)


def _example_pictures() -> Tensor:
    """Return two pictures that the export is traced with: a white page with two rows of strokes, and a blank one."""
    pictures = torch.full((2, 4, 90, 80), 255, dtype=torch.uint8)
    pictures[0, :3, 10:30, 20:60:9] = pictures[0, :3, 50:70, 20:60:9] = 0
    return pictures


def load_predictor(path: Path) -> Callable[[Tensor], Tensor]:
    """Load a graph of pictures as a function from canvases, B 1 H W, uint8, to digits, B T, int64."""
    session = create_session(path)

    def predict(images: Tensor) -> Tensor:
        pictures = torch.cat([images.expand(-1, 3, -1, -1), torch.full_like(images, 255)], 1)
        sizes = torch.tensor([images.shape[2:]]).expand(len(images), 2)
        return torch.from_numpy(session.run(["digits"], {"pictures": pictures.numpy(), "sizes": sizes.numpy()})[0])

    return predict


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
