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

from mnist_seq.atomic_io import atomic_path, atomic_write_text
from mnist_seq.config.migrations import migrate_card, migrate_checkpoint, migrate_state_dict
from mnist_seq.config.trust import Trust
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference import pretrained
from mnist_seq.nn import build_from_card, make_card
from mnist_seq.nn.model import Model

CARD_FILE = "model.json"
_STATE_DICT_PREFIX = "model."
"""Of the reader's weights among those of its LightningModule."""


def save(model: Model, path: Path, **metadata: Any) -> None:
    """Write `path` (.safetensors) and, beside it, model.json: architecture, vocabulary, checksum and what is said."""
    with atomic_path(path) as beside:
        state = model.state_dict().items()
        beside.write_bytes(serialized({name: weight.detach().cpu().contiguous().clone() for name, weight in state}))
        checksum = _sha256(beside)
    atomic_write_text(
        path.with_name(CARD_FILE), json.dumps(make_card(model) | {"sha256": checksum} | metadata, indent=2) + "\n"
    )


def load(
    run: str | os.PathLike[str], device: torch.device | str = "cpu", trust: Trust = None
) -> tuple[Model, dict[str, Any]]:
    """A reader and its card, from a run directory, a .safetensors file, a checkpoint, or `pretrained:NAME`.

    Args:
        trust: whether the class of a model from outside the package may be imported.

    Raises:
        FileNotFoundError: nothing there to load.
        ValueError: a damaged file, weights of another shape, vocabulary or checksum than the card says, or code that is
            not trusted.
    """
    weights, about = _load_state(run)
    try:
        with torch.random.fork_rng(devices=[]):  # no weight keeps its random beginning
            model = build_from_card(about, trust)
    except (KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"{run} has a card that describes no model: {type(problem).__name__} {problem}") from problem
    try:
        model.load_state_dict(weights)
    except RuntimeError as problem:
        detail = textwrap.shorten(str(problem).split("\n")[1].strip(), 200, placeholder=" ...")
        raise UserError(f"{run} holds weights of another shape than its card says: {detail}") from problem
    return model.eval().to(device), about


@dataclass(frozen=True)
class InitReport:
    """What one model took from another."""

    source: str
    loaded_keys: list[str]
    """Names of weights."""
    skipped_keys: dict[str, str]
    """Name of a weight that was not taken -> why."""
    config_differences: dict[str, str]
    """Key of the model's config that means something else there, whatever the shapes -> how."""
    loaded_fraction: float
    """Of the model's parameters that were taken."""
    trained_on_val: list[str]
    """Sources of digits of which the other, or what it began with, has learnt those of val too (`data.pool=full`)."""

    def __str__(self) -> str:
        left, differs = (
            "; ".join(f"{name} ({why})" for name, why in each.items()) or "nothing"
            for each in (self.skipped_keys, self.config_differences)
        )
        return f"{self.loaded_fraction:.0%} of the weights are from {self.source}; left as they were: {left}; differs: {differs}"


def load_matching(model: Model, run: str | os.PathLike[str]) -> InitReport:
    """Take over the weights of another model whose names and shapes match.

    Raises:
        FileNotFoundError: nothing there to load.
        ValueError: a damaged file, or nothing in it that matches.
    """
    (there, about), own = _load_state(run), model.state_dict()
    left = dict.fromkeys(own.keys() - there.keys(), "not there")
    for name in own.keys() & there.keys():
        if own[name].shape != there[name].shape:
            left[name] = f"{_format_shape(there[name])} there, {_format_shape(own[name])} here"
    taken = [name for name in own if name not in left]
    if not taken:
        raise UserError(f"init_from={run}: no weight there has the name and shape of one of this model")
    model.load_state_dict({name: there[name] for name in taken}, strict=False)
    share = sum(own[name].numel() for name in taken) / sum(weight.numel() for weight in own.values())
    theirs, ours = about.get("model", {}), make_card(model)["model"]
    differs = {key: f"{theirs[key]} there, {ours[key]} here" for key in ours if theirs.get(key, ours[key]) != ours[key]}
    trained_on_val = about.get("trained_on_val", [])
    return InitReport(
        str(run), taken, {name: left[name] for name in own if name in left}, differs, share, trained_on_val
    )


def _format_shape(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))


def _load_state(run: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and card of a run directory, a .safetensors file, a checkpoint or an included model."""
    path = pretrained.resolve_path(run)
    if path.is_dir():
        path = _find_weights(path)
    return _load_checkpoint_state(path) if path.suffix == ".ckpt" else _load_safetensors(path)


def _find_weights(folder: Path) -> Path:
    for candidate in ("weights.safetensors", "checkpoints/last.ckpt"):
        if (folder / candidate).is_file():
            return folder / candidate
    raise NotFoundError(f"{folder} holds neither weights.safetensors nor checkpoints/last.ckpt")


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as problem:
        raise UserError(f"{path} is not a safetensors file: {problem}") from problem
    beside = path.with_name(CARD_FILE)
    try:
        about = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise NotFoundError(f"{beside} is missing: weights need the model card beside them") from problem
    except (ValueError, OSError) as problem:
        raise UserError(f"{beside} is not a model card: {problem}") from problem
    if not isinstance(about, dict):
        raise UserError(f"{beside} is not a model card: it holds a {type(about).__name__}")
    if "sha256" in about and about["sha256"] != _sha256(path):
        raise UserError(f"{path} is not the file that {beside} tells of: its SHA-256 is another; copy both anew")
    return migrate_state_dict(weights, about), migrate_card(about, beside)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_checkpoint_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = load_checkpoint(path)
    if "model_card" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of a reader: it holds no model card")
    weights = {name: weight for name, weight in checkpoint["state_dict"].items() if name.startswith(_STATE_DICT_PREFIX)}
    return {name.removeprefix(_STATE_DICT_PREFIX): weight for name, weight in weights.items()}, checkpoint["model_card"]


def load_checkpoint(path: Path) -> dict[str, Any]:
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
    return migrate_checkpoint(checkpoint, path)
