"""Weights on disk: safetensors and a JSON card beside them, or a training checkpoint. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialized
from torch import Tensor

from mnist_seq.atomic import whole, write_whole
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.nn import card, from_card
from mnist_seq.nn.model import Model
from mnist_seq.trust import Trust
from mnist_seq.use import pretrained

CARD = "model.json"
_PREFIX = "model."
"""Of the reader's weights among those of its LightningModule."""


def save(model: Model, path: Path, **about: Any) -> None:
    """Write `path` (.safetensors) and, beside it, model.json: architecture, vocabulary, checksum and what is said."""
    with whole(path) as beside:
        state = model.state_dict().items()
        beside.write_bytes(serialized({name: weight.detach().cpu().contiguous().clone() for name, weight in state}))
        checksum = _checksum(beside)
    write_whole(path.with_name(CARD), json.dumps(card(model) | {"sha256": checksum} | about, indent=2) + "\n")


def load(
    path: str | os.PathLike[str], device: torch.device | str = "cpu", trust: Trust = None
) -> tuple[Model, dict[str, Any]]:
    """A reader and its card, from a run directory, a .safetensors file, a checkpoint, or `pretrained:NAME`.

    Args:
        trust: whether the class of a model from outside the package may be imported.

    Raises:
        FileNotFoundError: nothing there to load.
        ValueError: a damaged file, weights of another shape, vocabulary or checksum than the card says, or code that is
            not trusted.
    """
    weights, about = _read(path)
    try:
        with torch.random.fork_rng(devices=[]):  # no weight keeps its random beginning
            model = from_card(about, trust)
    except (KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"{path} has a card that describes no model: {type(problem).__name__} {problem}") from problem
    try:
        model.load_state_dict(weights)
    except RuntimeError as problem:
        detail = textwrap.shorten(str(problem).split("\n")[1].strip(), 200, placeholder=" ...")
        raise UserError(f"{path} holds weights of another shape than its card says: {detail}") from problem
    return model.eval().to(device), about


@dataclass(frozen=True)
class Transfer:
    """What one model took from another."""

    source: str
    taken: list[str]
    """Names of weights."""
    left: dict[str, str]
    """Name of a weight that was not taken -> why."""
    differs: dict[str, str]
    """Key of the model's config that means something else there, whatever the shapes -> how."""
    share: float
    """Of the model's parameters that were taken."""
    learnt_val: list[str]
    """Sources of digits of which the other, or what it began with, has learnt those of val too (`data.pool=full`)."""

    def __str__(self) -> str:
        left, differs = (
            "; ".join(f"{name} ({why})" for name, why in each.items()) or "nothing"
            for each in (self.left, self.differs)
        )
        return f"{self.share:.0%} of the weights are from {self.source}; left as they were: {left}; differs: {differs}"


def transfer(model: Model, path: str | os.PathLike[str]) -> Transfer:
    """Take over the weights of another model whose names and shapes match.

    Raises:
        FileNotFoundError: nothing there to load.
        ValueError: a damaged file, or nothing in it that matches.
    """
    (there, about), own = _read(path), model.state_dict()
    left = dict.fromkeys(own.keys() - there.keys(), "not there")
    for name in own.keys() & there.keys():
        if own[name].shape != there[name].shape:
            left[name] = f"{_by(there[name])} there, {_by(own[name])} here"
    taken = [name for name in own if name not in left]
    if not taken:
        raise UserError(f"init_from={path}: no weight there has the name and shape of one of this model")
    model.load_state_dict({name: there[name] for name in taken}, strict=False)
    share = sum(own[name].numel() for name in taken) / sum(weight.numel() for weight in own.values())
    theirs, ours = about.get("model", {}), card(model)["model"]
    differs = {key: f"{theirs[key]} there, {ours[key]} here" for key in ours if theirs.get(key, ours[key]) != ours[key]}
    learnt_val = about.get("learnt_val", [])
    return Transfer(str(path), taken, {name: left[name] for name in own if name in left}, differs, share, learnt_val)


def _by(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))


def _read(place: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card of a run directory, a .safetensors file, a checkpoint or an included model."""
    path = pretrained.find(place)
    if path.is_dir():
        path = _within(path)
    return _read_checkpoint(path) if path.suffix == ".ckpt" else _read_weights(path)


def _within(folder: Path) -> Path:
    for candidate in ("weights.safetensors", "checkpoints/last.ckpt"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise NotFoundError(f"{folder} holds neither weights.safetensors nor checkpoints/last.ckpt")


def _read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as problem:
        raise UserError(f"{path} is not a safetensors file: {problem}") from problem
    beside = path.with_name(CARD)
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise NotFoundError(f"{beside} is missing: weights need the model card beside them") from problem
    except (ValueError, OSError) as problem:
        raise UserError(f"{beside} is not a model card: {problem}") from problem
    if not isinstance(about, dict):
        raise UserError(f"{beside} is not a model card: it holds a {type(about).__name__}")
    if "sha256" in about and about["sha256"] != _checksum(path):
        raise UserError(f"{path} is not the file that {beside} tells of: its SHA-256 is another; copy both anew")
    return weights, about


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = read_checkpoint(path)
    if "reader" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of a reader: it holds no model card")
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
        raise UserError(f"{path} is not a checkpoint: {type(problem).__name__} {reason}") from problem
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return checkpoint
