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

from mnist_seq.atomic import write_whole
from mnist_seq.config import Spec
from mnist_seq.nn.model import Model
from mnist_seq.run import Run
from mnist_seq.use import pretrained, weights

Reads = Callable[[Tensor], Tensor]
"""Images, B 1 H W, as models take them, to what is read in each, B T."""
_SCORES = ("scenes", "exact_match", "exact_match_interval", "digit_accuracy", "digit_accuracy_interval", "loss")
"""Of what a run says of a split, what a release says of it."""
_ORDERS = {
    "left_to_right": "from left to right",
    "raster": "in raster order",
    "rows": "row by row",
    "set": "in any order",
}


@dataclass(frozen=True)
class Release:
    """A reader to give away."""

    name: str
    model: Model
    card: dict[str, Any]
    """What is known of the weights."""
    run: Run | None = None
    """Where they were trained, where that is at hand."""
    gate: dict[str, Any] | None = None
    """How well it reads built-in scenes, which a service holds it to."""

    def write(self, folder: Path, check: Tensor | None = None) -> int:
        """Weights, model.json and README.md, in a folder that is there.

        Args:
            check: scenes, B 1 H W, that the weights as written must read as those that were trained.

        Returns:
            How many of these are read otherwise.
        """
        half, found, differ = copy.deepcopy(self.model).half(), None, 0
        if check is not None:
            rounded = copy.deepcopy(self.model)
            rounded.load_state_dict(half.state_dict())
            differ = differing(digits(self.model), digits(rounded), check)
            found = {"scenes": len(check), "differ": differ}
        about = self._said | {"rounding": self.card.get("rounding") or found}  # of weights released before: as it was
        text = self._text(about, folder)
        weights.save(half, folder / "weights.safetensors", **about)
        write_whole(folder / "README.md", text)
        return differ

    @property
    def _said(self) -> dict[str, Any]:
        metrics = self.run.metrics if self.run else {}
        before = {} if self.run else self.card
        said = {key: value for key, value in self.card.items() if key not in ("model", "spec", "vocabulary", "sha256")}
        return said | {
            "name": self.name,
            "licence": "MIT",
            "digits": self.card.get("digits", "unknown"),
            "parameters": sum(weight.numel() for weight in self.model.parameters()),
            "trained": before.get("trained")
            or {
                key: metrics[key]
                for key in ("steps", "scenes", "seconds", "device", "precision", "matmul_precision", "seed", "versions")
                if key in metrics
            }
            | ({"began_with": metrics["init_from"]["source"]} if "init_from" in metrics else {}),
            "scores": before.get("scores")
            or {split: {key: metrics[split][key] for key in _SCORES} for split in ("val", "test") if split in metrics},
            "curve": before.get("curve") or (self.run.curve if self.run else []),
            "gate": self.gate,
        }

    def _text(self, about: dict[str, Any], folder: Path) -> str:
        trained, spec = about["trained"], self.model.spec
        facts = {
            "architecture": ", ".join(
                f"{key} {value}" for key, value in vars(self.model.config).items() if value is not None
            ),
            "parameters": f"{about['parameters']:,}",
            "canvas": f"{spec.height}x{spec.width} pixels, grey",
            "scenes": about.get("data", {}).get("family", "its own"),
        }
        if trained.get("seconds"):
            facts["trained on"] = (
                f"{trained['scenes']:,} scenes, {trained['seconds'] / 60:.0f} minutes, {trained['device']}"
            )
        if "began_with" in trained:
            facts["began with"] = f"the weights of {trained['began_with']}, where they fit"
        facts |= {"commit": about.get("revision") or "unknown", "licence": about["licence"]}
        environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
        environment.filters["percent"] = lambda share: f"{share:.2%}"
        return (
            environment.from_string(Path(__file__).with_name("card.md").read_text(encoding="utf-8")).render(
                about,
                reads=reads(spec, about.get("data", {})),
                place=self.name if folder.resolve().parent == pretrained.FOLDER else f"./{folder.name}",
                facts=facts,
            )
            + "\n"
        )


def reads(spec: Spec, data: dict[str, Any]) -> str:
    """What a reader reads, in words.

    Args:
        data: its scenes, as its card has them.
    """
    canvas, family = f"on {spec.height}x{spec.width} pixels", data.get("family")
    if spec.max_digits == 1:
        return f"one digit {canvas}"
    usual = "left_to_right" if family in ("line", "cluttered") else "raster" if spec.ordered else "set"
    sure = family == "grid" and not data.get("empty")
    return f"{'' if sure else 'up to '}{spec.max_digits} digits {canvas}, {_ORDERS[data.get('order') or usual]}"


def digits(model: Model) -> Reads:
    """What a model reads."""
    return lambda images: model.read(images).digits


@torch.inference_mode()
def differing(one: Reads, other: Reads, images: Tensor) -> int:
    """How many images, B 1 H W, are read differently."""
    return sum(int((one(part) != other(part)).any(1).sum()) for part in images.split(250))
