"""The model card: README.md of an exported model, rendered from its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from mnist_seq.config import FAMILY_CONFIGS, DataConfig, Spec
from mnist_seq.inference import pretrained
from mnist_seq.nn.model import Model

_READING_ORDER_TEXT = {
    "left_to_right": "from left to right",
    "raster": "in raster order",
    "rows": "row by row",
    "set": "in any order",
    "labelled": "in the order of its labels",
}


def render_card(model: Model, metadata: dict[str, Any], output_dir: Path) -> str:
    """Render the model card as Markdown.

    Args:
        metadata: what model.json says beside config, spec and vocabulary.
        output_dir: the model's folder; the example in the card loads it.
    """
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["percent"] = "{:.2%}".format
    template = environment.from_string(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"))
    config, included = vars(model.config), output_dir.resolve().parent == pretrained.PRETRAINED_DIR
    text = template.render(
        metadata,
        task=describe_task(model.spec, metadata.get("data", {})),
        trained_on=_describe_training(metadata.get("data", {})),
        uri=f"{pretrained.PREFIX}{output_dir.name}" if included else f"./{output_dir.name}",
        model=model,
        architecture=[f"{key} {value}" for key, value in config.items() if key != "name" and value not in (None, 0)],
    )
    return text + "\n"


def _describe_training(data: dict[str, Any]) -> str:
    """Describe in a word what a model was trained on.

    Args:
        data: the data config in the model's card.
    """
    if data.get("family") != "folder":
        return "synthetic scenes only"
    return "labelled images" + (" and on synthetic scenes" if data.get("synthetic") else "")


def describe_task(spec: Spec, data: dict[str, Any]) -> str:
    """Describe what a model reads, e.g. "up to 5 digits on 96x96 pixels, row by row".

    Args:
        data: the data config in the model's card.
    """
    canvas, family = f"on {spec.height}x{spec.width} pixels", data.get("family")
    if spec.max_length == 1:
        return f"one digit {canvas}"
    if family == "folder":
        return describe_task(spec, data.get("synthetic") or {"order": "labelled"})
    default_order = FAMILY_CONFIGS.get(str(family), DataConfig).reading_order if spec.ordered else "set"
    is_full = (family == "grid" and not data.get("p_empty")) or family == "cluttered"
    exact_count = is_full or data.get("min_digits") == spec.max_length
    order = _READING_ORDER_TEXT[data.get("order") or default_order]
    return f"{'' if exact_count else 'up to '}{spec.max_length} digits {canvas}, {order}"
