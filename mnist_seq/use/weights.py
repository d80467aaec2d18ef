"""Weights on disk: safetensors and a JSON card beside them, or a training checkpoint. Nothing is ever unpickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mnist_seq.nn import card, from_card
from mnist_seq.nn.model import Model
from mnist_seq.run import whole

_CARD = "model.json"
_PREFIX = "model."
"""Of the reader's weights among those of its LightningModule."""


def save(model: Model, path: Path, **about: Any) -> None:
    """Write `path` (.safetensors) and, beside it, model.json: architecture, vocabulary and what is said about it."""
    with whole(path) as beside:
        save_file({name: weight.detach().cpu().contiguous() for name, weight in model.state_dict().items()}, beside)
    with whole(path.with_name(_CARD)) as beside:
        beside.write_text(json.dumps(card(model) | about, indent=2) + "\n")


def load(path: str | Path, device: torch.device | str = "cpu") -> tuple[Model, dict[str, Any]]:
    """A reader and its card, from a run directory, a .safetensors file or a checkpoint.

    Raises:
        FileNotFoundError: nothing there to load.
        ValueError: a damaged file, or weights of another shape or vocabulary.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a run directory, weights (.safetensors) or a checkpoint")
    if path.is_dir():
        path = _within(path)
    weights, about = _read_checkpoint(path) if path.suffix == ".ckpt" else _read_weights(path)
    model = from_card(about)
    try:
        model.load_state_dict(weights)
    except RuntimeError as problem:
        detail = str(problem).split("\n")[1].strip()
        raise ValueError(f"{path} holds weights of another shape than its card says: {detail}") from problem
    return model.eval().to(device), about


def _within(folder: Path) -> Path:
    for candidate in ("weights.safetensors", "checkpoints/last.ckpt"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileNotFoundError(f"{folder} holds neither weights.safetensors nor checkpoints/last.ckpt")


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as problem:
        raise ValueError(f"{path} is not a safetensors file: {problem}") from problem
    beside = path.with_name(_CARD)
    try:
        about = json.loads(beside.read_text())
    except FileNotFoundError as problem:
        raise FileNotFoundError(f"{beside} is missing: weights need the model card beside them") from problem
    except (ValueError, OSError) as problem:
        raise ValueError(f"{beside} is not a model card: {problem}") from problem
    return weights, about


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = read_checkpoint(path)
    if "reader" not in checkpoint or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of a reader: it holds no model card")
    weights = {name: weight for name, weight in checkpoint["state_dict"].items() if name.startswith(_PREFIX)}
    return {name.removeprefix(_PREFIX): weight for name, weight in weights.items()}, checkpoint["reader"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint as plain values and tensors on the CPU.

    Raises:
        ValueError: not a checkpoint, or one that would run code when loaded.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # the unpickler raises whatever the bytes lead it to
        reason = (str(problem).splitlines() or [""])[0]
        raise ValueError(f"{path} is not a checkpoint: {type(problem).__name__} {reason}") from problem
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint
