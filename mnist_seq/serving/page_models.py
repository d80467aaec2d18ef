"""What the page needs of a model: its graph, what it says about itself, and scenes that it has not seen."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any, cast

from mnist_seq.config import FolderConfig
from mnist_seq.config.serialization import data_from_dict
from mnist_seq.data import datasets, sources
from mnist_seq.errors import UserError
from mnist_seq.inference.model_card import describe_task
from mnist_seq.inference.onnx_export import build_graph
from mnist_seq.inference.onnx_loop import can_loop
from mnist_seq.nn.blocks import DecoderBlock
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model
from mnist_seq.reporting.data_uri import png_data_uri
from mnist_seq.vocabulary import decode

_NUM_EXAMPLES = 12


def page_card(name: str, model: Model, card: dict[str, Any], graph: str) -> dict[str, Any]:
    """Describe a model to the page: see `Card` in page/runtime.js.

    Args:
        name: shown.
        graph: id of its graph.
    """
    parameters = sum(weight.numel() for weight in model.parameters())
    about = f"{name} reads {describe_task(model.spec, card.get('data', {}))}. It has {parameters:,} parameters."
    if card.get("platt_scaling"):
        about += " The confidence of a number is calibrated on labelled pictures; that of a digit is the model's own."
    return {
        "name": name,
        "graph": graph,
        "about": about,
        "height": model.spec.height,
        "width": model.spec.width,
        "maxLength": model.spec.max_length,
        "attended": _attended(model) if can_loop(model) else None,
        "examples": _examples(card),
    }


def pack_graph(model: Model, card: dict[str, Any]) -> bytes:
    """Export a model for the page, in gzip.

    Raises:
        UserError: the extra `onnx` is not installed, or the model has an operator without an ONNX counterpart.
    """
    return gzip.compress(build_graph(model, card, explain=can_loop(model), quantize=True), 9, mtime=0)


def _attended(model: Model) -> dict[str, int]:
    assert isinstance(model, EncoderDecoder)
    patch_embed = model.encoder.patch_embed
    rows, columns = patch_embed.grid_size
    return {
        "patchRows": rows,
        "patchColumns": columns,
        "patchSize": patch_embed.patch_size,
        "heads": cast(DecoderBlock, model.decoder[-1]).cross_attention.num_heads,
    }


def _examples(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Draw test scenes of a model's own data; none for a folder, whose pictures may be private.

    Digits that are not on this machine are replaced by those of the fallback; other classes are not.
    """
    if "data" not in card:
        return []
    try:
        config = data_from_dict(card["data"])
        if isinstance(config, FolderConfig):
            return []
        source = sources.resolve_offline(config.digits)
        if config.digits in sources.NOT_DIGITS and source != config.digits:
            return []
        splits = datasets.load(replace(config, digits=source)).splits
    except UserError:
        return []
    name = next((name for name in ("test", "val") if name in splits), None)
    if name is None:
        return []
    scenes = splits[name][:_NUM_EXAMPLES]
    return [
        {"image": png_data_uri(image.numpy()).partition(",")[2], "digits": digits}
        for image, digits in zip(scenes.images[:, 0], decode(scenes.digits), strict=True)
    ]
