"""Export a model as one ONNX graph: pictures in, digits and probabilities out, for runtimes without torch.

The graph holds the preprocessing and greedy decoding. The decoder of `EncoderDecoder` is a loop; that of any other
model is unrolled, with as many steps as the longest sequence takes.

Shapes   B pictures   Y X padded size of the pictures   K canvases: rows of all pictures   h w canvas
         T longest sequence
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mnist_seq.atomic_io import atomic_path
from mnist_seq.config.validation import check
from mnist_seq.data.preprocess import Preprocess, has_ink
from mnist_seq.data.row_detection import MAX_ROWS
from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra
from mnist_seq.inference.onnx_loop import Inputs, can_loop, export_graph, export_with_loop
from mnist_seq.inference.onnx_quantize import quantize_weights
from mnist_seq.inference.platt_scaling import PlattScaling
from mnist_seq.nn.decoding import output_of_steps
from mnist_seq.nn.encoder_decoder import EncoderDecoder
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
    "digits": f"int64 (rows, {{length}}): digits in reading order, then {PAD}",
    "probability": "float32 (rows, {length}): probability of each digit given the previous ones, then 1",
    "confidence": "float32 (rows,): probability that the whole sequence is right, its end included",
}
"""Outputs of both graphs; stored in their metadata."""
ROWS_METADATA = {
    "picture": "int64 (rows,): index of the picture of each row; the rows of a picture come from top to bottom",
    "window": "float32 (rows, 4): x0 y0 x1 y1, the part of the picture that was read, pixels",
    "num_shapes": "int64 (rows,): separate shapes of a digit's height; more than {max_length} cannot be read",
    "num_omitted": f"int64 (rows,): further rows of the picture, which are not read; at most {MAX_ROWS} are",
}
"""Further outputs of a graph that reads pictures; stored in its metadata."""
RUNNER_UP_METADATA = {
    "runner_up": "int64 (rows, {length}): second likeliest token at each digit; above 9 the end of the row",
    "runner_up_probability": "float32 (rows, {length}): probability of the runner-up given the previous digits",
}
EXPLAIN_METADATA = {
    "attention": "float32 (steps, rows, heads, patches): attention of the last decoder block",
    "canvases": "float32 (rows, 1, {height}, {width}): what the model sees of each row",
}
"""Further outputs of a graph that explains what it reads; stored in its metadata."""
_COLOR_CODE = re.compile(r"\x1b\[[0-9;]*m")
"""What colours torch's messages in a terminal."""


class _Canvases(nn.Module):
    """Grey levels of the model's canvas, as floats in [0, 1]."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (images / 255,)


class _PictureCanvases(nn.Module):
    """Preprocessing: what `Reader.preprocess` does from RGBA on, row by row."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.preprocess = Preprocess(model.spec)

    def forward(self, pictures: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        canvases = self.preprocess(pictures, sizes)
        return canvases.images[:, None], *canvases[1:]


class _Postprocess(nn.Module):
    """From a prediction to the outputs: nothing is read on a canvas without ink, and confidences are scaled."""

    def __init__(self, scale_confidence: PlattScaling) -> None:
        super().__init__()
        self.scale_confidence = scale_confidence

    def forward(self, digits: Tensor, probs: Tensor, confidence: Tensor, canvases: Tensor) -> tuple[Tensor, ...]:
        inked = has_ink(canvases[:, 0])
        digits, probs = torch.where(inked[:, None], digits, PAD), torch.where(inked[:, None], probs, 1.0)
        confidence = self.scale_confidence(confidence).clamp(max=1 - 2**-24)  # 1 says that there is no ink
        return digits, probs, torch.where(inked, confidence, 1.0)


class _PostprocessSteps(nn.Module):
    """As `_Postprocess`, from the tokens and log-probabilities of the loop's steps, S B 1."""

    def __init__(self, postprocess: _Postprocess, max_length: int) -> None:
        super().__init__()
        self.postprocess, self.max_length = postprocess, max_length

    def forward(self, tokens: Tensor, log_probs: Tensor, canvases: Tensor) -> Any:
        output = output_of_steps(tokens[..., 0].T, log_probs[..., 0].T, self.max_length + 1)
        return self.postprocess(output.digits, output.probs, output.confidence, canvases)


class _PostprocessExplained(_PostprocessSteps):
    """As `_PostprocessSteps`, with the runners-up."""

    def forward(  # type: ignore[override]
        self, tokens: Tensor, log_probs: Tensor, runners_up: Tensor, runner_up_log_probs: Tensor, canvases: Tensor
    ) -> Any:
        runners_up, probs = self._pad(runners_up, PAD), self._pad(runner_up_log_probs.exp(), 1)
        return *super().forward(tokens, log_probs, canvases), runners_up, probs

    def _pad(self, steps: Tensor, value: int) -> Tensor:
        """From the values of S steps, S B 1, to B max_length."""
        missing = steps.new_full((self.max_length, *steps.shape[1:]), value)
        return torch.cat([steps, missing])[: self.max_length, :, 0].T


class _UnrolledReader(nn.Module):
    """A model of any kind, from the inputs to the outputs; the steps of a decoder are unrolled."""

    def __init__(self, model: Model, preprocess: nn.Module, postprocess: _Postprocess) -> None:
        super().__init__()
        self.model, self.preprocess, self.postprocess = model, preprocess, postprocess

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        canvases, *others = self.preprocess(*inputs)
        output = self.model.read(canvases)
        return *self.postprocess(output.digits, output.probs, output.confidence, canvases), *others


def export_onnx(model: Model, path: Path, card: dict[str, Any], **options: bool) -> None:
    """Write a model as an ONNX graph; see `build_graph` for the options and errors."""
    graph = build_graph(model, card, **options)
    with atomic_path(path) as temp_path:
        temp_path.write_bytes(graph)


def build_graph(
    model: Model,
    card: dict[str, Any],
    include_preprocessing: bool = True,
    explain: bool = False,
    quantize: bool = False,
) -> bytes:
    """Build the ONNX graph of a model; its metadata describes inputs and outputs and holds the card.

    Args:
        include_preprocessing: read pictures of any size; else canvases of the model.
        explain: return the runners-up, the attention and the canvases too; only for an `EncoderDecoder` of at least 3
            digits.
        quantize: store the weights in 8 bits.

    Raises:
        UserError: the extra `onnx` is not installed; the model has an operator without an ONNX counterpart; or it is
            asked to explain and cannot.
    """
    check_extra("ONNX", "onnx")
    import onnx

    spec, batch = model.spec, torch.export.Dim("batch", min=1)
    if include_preprocessing:
        preprocess: nn.Module = _PictureCanvases(model)
        # the traced example has more rows than pictures, and another size than the canvas
        height, width = (torch.export.Dim(name, min=1) for name in ("height", "width"))
        inputs = Inputs(
            (_example_pictures(), torch.tensor([[90, 70], [80, 75]])),
            {"pictures": {0: batch, 2: height, 3: width}, "sizes": {0: batch}},
        )
        metadata, preprocessed = PICTURES_METADATA | DECODER_METADATA | ROWS_METADATA, list(ROWS_METADATA)
    else:
        preprocess, preprocessed = _Canvases(), []
        inputs = Inputs((torch.zeros(2, 1, spec.height, spec.width, dtype=torch.uint8),), {"images": {0: batch}})
        metadata = CANVASES_METADATA | DECODER_METADATA
    postprocess, outputs = _Postprocess(PlattScaling.from_card(card)), list(DECODER_METADATA)
    if explain:
        reason = (
            "only an EncoderDecoder for 3 digits or more, with its own start, step and read, explains what it reads"
        )
        check(can_loop(model), f"{type(model).__name__}: {reason}")
        metadata, outputs = metadata | RUNNER_UP_METADATA | EXPLAIN_METADATA, [*outputs, *RUNNER_UP_METADATA]
    postprocess_steps = _PostprocessExplained if explain else _PostprocessSteps
    try:
        if can_loop(model):
            graph = export_with_loop(
                cast(EncoderDecoder, model),
                preprocess=preprocess,
                inputs=inputs,
                preprocessed=preprocessed,
                postprocess=postprocess_steps(postprocess, spec.max_length),
                outputs=outputs,
                explain=explain,
            )
        else:
            graph = export_graph(_UnrolledReader(model, preprocess, postprocess), inputs, [*outputs, *preprocessed])
    except torch.onnx.errors.OnnxExporterError as error:
        reason = _COLOR_CODE.sub("", str(error)).splitlines()[0]
        raise UserError(f"{type(model).__name__} cannot be exported to ONNX: {reason}") from error
    if quantize:
        quantize_weights(graph)
    length = math.prod(spec.cells) if model.output_type == "cells" else spec.max_length
    sizes = {"height": spec.height, "width": spec.width, "length": length, "max_length": spec.max_length}
    texts = {key: text.format(**sizes) for key, text in metadata.items()}
    onnx.helper.set_model_props(graph, texts | {"card": json.dumps(card)})
    return bytes(graph.SerializeToString())


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


def create_session(graph: Path | bytes, num_threads: int = 0) -> Any:
    """Create an ONNX Runtime session on the CPU, with telemetry off.

    Args:
        graph: a file, or its content.
        num_threads: threads per operator; 0 lets ONNX Runtime choose.
    """
    check_extra("ONNX", "onnx")
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.enable_mem_pattern = False  # a plan is kept for each new size of the pictures
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads slow everything else
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
