"""What the page needs of a model: its graph, what it says about itself, and scenes that it has not seen."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from mnist_seq.config.serialization import data_from_dict
from mnist_seq.config.validation import check
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.inference.model_card import describe_task
from mnist_seq.inference.onnx_export import export_onnx
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model
from mnist_seq.serving.page_builder import PageExample, PageModel

_NUM_EXAMPLES = 12


def page_model(name: str, model: Model, card: dict[str, Any]) -> PageModel:
    """Export a model for the page.

    Raises:
        UserError: not an encoder-decoder; or the extra `onnx` is not installed.
    """
    check(
        isinstance(model, EncoderDecoder),
        f"format=page: {name} is a {type(model).__name__}, whose steps the page cannot show: serve it instead",
    )
    assert isinstance(model, EncoderDecoder)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export_onnx(model, path, card, explain=True)
        graph = path.read_bytes()
    rows, columns = model.encoder.patch_embed.grid_size
    parameters = sum(weight.numel() for weight in model.parameters())
    about = f"{name} reads {describe_task(model.spec, card.get('data', {}))}. It has {parameters:,} parameters."
    return PageModel(
        {
            "name": name,
            "about": about,
            "height": model.spec.height,
            "width": model.spec.width,
            "maxLength": model.spec.max_length,
            "heads": model.config.num_heads,
            "patchRows": rows,
            "patchColumns": columns,
        },
        graph,
    )


def page_examples(name: str, card: dict[str, Any]) -> list[PageExample]:
    """Draw test scenes of a model's own data; none if its digits are not on this machine."""
    try:
        splits = datasets.load(data_from_dict(card["data"])).splits
    except (KeyError, UserError):
        return []
    scenes = splits["test" if "test" in splits else "val"][:_NUM_EXAMPLES]
    examples = []
    for image, digits, count in zip(scenes.images[:, 0], scenes.digits.tolist(), scenes.counts.tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(image.numpy()).save(file, "PNG", optimize=True)
        examples.append(PageExample(name, file.getvalue(), digits[:count]))
    return examples
