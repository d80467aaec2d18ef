"""What the page needs of a model: its graph, what it says about itself, and scenes that it has not seen."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from mnist_seq.config.serialization import data_from_dict
from mnist_seq.config.validation import check
from mnist_seq.data import datasets, sources
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
        export_onnx(model, path, card, explain=True, quantize=True)
        graph = path.read_bytes()
    patch_embed = model.encoder.patch_embed
    rows, columns = patch_embed.grid_size
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
            "patchSize": (model.spec.height + patch_embed.padding[-1]) // rows,
            "ordered": model.spec.ordered,
        },
        graph,
    )


def page_examples(index: int, card: dict[str, Any]) -> list[PageExample]:
    """Draw test scenes of a model's own data; none if its data are not on this machine.

    Args:
        index: of the model in the page.
    """
    if "data" not in card:
        return []
    config = data_from_dict(card["data"])
    try:
        splits = datasets.load(replace(config, digits=sources.resolve_offline(config.digits))).splits
    except UserError:
        return []
    scenes = splits["test" if "test" in splits else "val"][:_NUM_EXAMPLES] if {"test", "val"} & set(splits) else None
    if scenes is None:
        return []
    examples = []
    for image, digits, count in zip(scenes.images[:, 0], scenes.digits.tolist(), scenes.counts.tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(image.numpy()).save(file, "PNG", optimize=True)
        examples.append(PageExample(index, file.getvalue(), digits[:count]))
    return examples
