"""Export a model for others: float16 weights, model.json and a model card.

Shapes   B images   H W canvas   T longest sequence
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.inference import weights
from mnist_seq.inference.init_from import describe_init
from mnist_seq.inference.model_card import render_card
from mnist_seq.nn.model import Model
from mnist_seq.run_dir import Run

PredictFn = Callable[[Tensor], Tensor]
"""From images, B 1 H W, uint8, to digits, B T, int64."""
_TRAINING_KEYS = ("steps", "scenes", "seconds", "device", "precision", "matmul_precision", "seed", "versions")
"""Keys of metrics.json that model.json keeps under `trained`."""
_SCORE_KEYS = ("scenes", "exact_match", "exact_match_interval", "digit_accuracy", "digit_accuracy_interval", "loss")
"""Keys of a split in metrics.json that model.json keeps under `scores`."""
_REBUILT_KEYS = ("model", "spec", "vocabulary", "sha256")
"""Keys of a loaded card that are written anew."""


def export_weights(
    name: str,
    model: Model,
    card: dict[str, Any],
    output_dir: Path,
    run: Run | None = None,
    release_scores: dict[str, float] | None = None,
    check_images: Tensor | None = None,
) -> int:
    """Write weights.safetensors, model.json and README.md.

    Args:
        card: the card that the model was loaded with.
        output_dir: an existing folder.
        run: the run that trained the model, if it is available.
        release_scores: scores on built-in scenes, which `serve` compares with before it starts.
        check_images: B 1 H W, uint8; predictions of the float16 weights are compared on them.

    Returns:
        Number of these images whose prediction differs from that of the trained weights.
    """
    half, rounding, num_mismatches = copy.deepcopy(model).half(), None, 0
    if check_images is not None:
        rounded = copy.deepcopy(model)
        rounded.load_state_dict(half.state_dict())
        num_mismatches = count_mismatches(predictor(model), predictor(rounded), check_images)
        rounding = {"scenes": len(check_images), "differ": num_mismatches}
    metadata = {key: value for key, value in card.items() if key not in _REBUILT_KEYS} | {
        "name": name,
        "license": "MIT",
        "digits": card.get("digits", "unknown"),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **_training_results(card, run),
        "release_scores": release_scores,
        # exported weights are already rounded: the first export's comparison holds
        "rounding": card.get("rounding") or rounding,
    }
    readme = render_card(model, metadata, output_dir)
    weights.save(half, output_dir / "weights.safetensors", **metadata)
    atomic_write_text(output_dir / "README.md", readme)
    return num_mismatches


def _training_results(card: dict[str, Any], run: Run | None) -> dict[str, Any]:
    """Training, scores and validation curve of a run; without one, those that the card keeps."""
    if run is None:
        return {key: card.get(key) or empty for key, empty in (("trained", {}), ("scores", {}), ("val_curve", []))}
    metrics = run.metrics
    trained = {key: metrics[key] for key in _TRAINING_KEYS if key in metrics} | describe_init(metrics)
    scores = {split: {key: metrics[split][key] for key in _SCORE_KEYS} for split in ("val", "test") if split in metrics}
    return {"trained": trained, "scores": scores, "val_curve": run.val_curve}


def predictor(model: Model) -> PredictFn:
    """Wrap a model as a function from images to digits."""
    return lambda images: model.read(images).digits


@torch.inference_mode()
def count_mismatches(predict: PredictFn, reference: PredictFn, images: Tensor) -> int:
    """Count the images, B 1 H W, uint8, on which two models predict different digits."""
    return sum(int((predict(batch) != reference(batch)).any(1).sum()) for batch in images.split(250))
