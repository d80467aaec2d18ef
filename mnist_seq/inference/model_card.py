"""Weights to give away: safetensors of 16-bit floats, model.json, and a model card for people.

Shapes   B images   H W canvas   T longest sequence
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import torch
from torch import Tensor

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.config import Spec
from mnist_seq.inference import pretrained, weights
from mnist_seq.nn.model import Model
from mnist_seq.run_dir import Run

PredictFn = Callable[[Tensor], Tensor]
"""Images, B 1 H W, as models take them, to what is read in each, B T."""
_SCORE_KEYS = ("scenes", "exact_match", "exact_match_interval", "digit_accuracy", "digit_accuracy_interval", "loss")
"""Of what a run says of a split, what a release says of it."""
_ORDER_TEXT = {
    "left_to_right": "from left to right",
    "raster": "in raster order",
    "rows": "row by row",
    "set": "in any order",
}


@dataclass(frozen=True)
class ModelExport:
    """A reader to give away."""

    name: str
    model: Model
    card: dict[str, Any]
    """What is known of the weights."""
    run_dir: Run | None = None
    """Where they were trained, where that is at hand."""
    release_scores: dict[str, Any] | None = None
    """How well it reads built-in scenes, which a service holds it to."""

    def save(self, folder: Path, check_images: Tensor | None = None) -> int:
        """Weights, model.json and README.md, in a folder that is there.

        Args:
            check: scenes, B 1 H W, that the weights as written must read as those that were trained.

        Returns:
            How many of these are read otherwise.
        """
        half, found, differ = copy.deepcopy(self.model).half(), None, 0
        if check_images is not None:
            rounded = copy.deepcopy(self.model)
            rounded.load_state_dict(half.state_dict())
            differ = count_mismatches(predictor(self.model), predictor(rounded), check_images)
            found = {"scenes": len(check_images), "differ": differ}
        about = self._metadata | {
            "rounding": self.card.get("rounding") or found
        }  # of weights released before: as it was
        text = self._render_card(about, folder)
        weights.save(half, folder / "weights.safetensors", **about)
        atomic_write_text(folder / "README.md", text)
        return differ

    @property
    def _metadata(self) -> dict[str, Any]:
        metrics = self.run_dir.metrics if self.run_dir else {}
        before = {} if self.run_dir else self.card
        said = {key: value for key, value in self.card.items() if key not in ("model", "spec", "vocabulary", "sha256")}
        return said | {
            "name": self.name,
            "license": "MIT",
            "digits": self.card.get("digits", "unknown"),
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "trained": before.get("trained")
            or {
                key: metrics[key]
                for key in ("steps", "scenes", "seconds", "device", "precision", "matmul_precision", "seed", "versions")
                if key in metrics
            }
            | ({"init_from": metrics["init_from"]["source"]} if "init_from" in metrics else {}),
            "scores": before.get("scores")
            or {
                split: {key: metrics[split][key] for key in _SCORE_KEYS}
                for split in ("val", "test")
                if split in metrics
            },
            "val_curve": before.get("val_curve") or (self.run_dir.val_curve if self.run_dir else []),
            "release_scores": self.release_scores,
        }

    def _render_card(self, metadata: dict[str, Any], folder: Path) -> str:
        trained, spec = metadata["trained"], self.model.spec
        facts = {
            "architecture": ", ".join(
                f"{key} {value}" for key, value in vars(self.model.config).items() if value is not None
            ),
            "parameters": f"{metadata['parameters']:,}",
            "canvas": f"{spec.height}x{spec.width} pixels, grey",
            "scenes": metadata.get("data", {}).get("family", "its own"),
        }
        if trained.get("seconds"):
            facts["trained on"] = (
                f"{trained['scenes']:,} scenes, {trained['seconds'] / 60:.0f} minutes, {trained['device']}"
            )
        if "init_from" in trained:
            facts["began with"] = f"the weights of {trained['init_from']}, where they fit"
        facts |= {"commit": metadata.get("revision") or "unknown", "license": metadata["license"]}
        environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
        environment.filters["percent"] = lambda share: f"{share:.2%}"
        return (
            environment.from_string(Path(__file__).with_name("model_card.md").read_text(encoding="utf-8")).render(
                metadata,
                reads=describe_task(spec, metadata.get("data", {})),
                place=self.name if folder.resolve().parent == pretrained.PRETRAINED_DIR else f"./{folder.name}",
                facts=facts,
            )
            + "\n"
        )


def describe_task(spec: Spec, data: dict[str, Any]) -> str:
    """What a reader reads, in words.

    Args:
        data: its scenes, as its card has them.
    """
    canvas, family = f"on {spec.height}x{spec.width} pixels", data.get("family")
    if spec.max_length == 1:
        return f"one digit {canvas}"
    usual = "left_to_right" if family in ("line", "cluttered") else "raster" if spec.ordered else "set"
    sure = family == "grid" and not data.get("p_empty")
    return f"{'' if sure else 'up to '}{spec.max_length} digits {canvas}, {_ORDER_TEXT[data.get('order') or usual]}"


def predictor(model: Model) -> PredictFn:
    """What a model reads."""
    return lambda images: model.read(images).digits


@torch.inference_mode()
def count_mismatches(predict: PredictFn, reference: PredictFn, images: Tensor) -> int:
    """How many images, B 1 H W, are read differently."""
    return sum(int((predict(part) != reference(part)).any(1).sum()) for part in images.split(250))
