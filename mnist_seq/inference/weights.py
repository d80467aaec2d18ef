"""Save and load weights: safetensors with model.json beside them, or a training checkpoint. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialize
from torch import Tensor

from mnist_seq.atomic_io import atomic_path, atomic_write_text
from mnist_seq.config import CustomConfig, Spec
from mnist_seq.config.migrations import SCHEMA_VERSION, migrate_card, migrate_checkpoint, migrate_state_dict
from mnist_seq.config.serialization import from_dict, model_from_dict, to_dict
from mnist_seq.config.trust import Trust, is_trusted, untrusted_message
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference import pretrained
from mnist_seq.nn.factory import build
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import VOCABULARY

CARD_FILE = "model.json"
_STATE_DICT_PREFIX = "model."
"""Prefix of the model's weights in the state dict of its LightningModule."""


def make_card(model: Model) -> dict[str, Any]:
    """Return, as plain values, all that is needed besides the weights to build a model again."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": to_dict(model.config),
        "spec": to_dict(model.spec),
        "vocabulary": list(VOCABULARY),
    }


def build_from_card(card: dict[str, Any], trust: Trust = None) -> Model:
    """Build the model that a card describes, with random weights.

    Args:
        trust: whether a class outside the package may be imported. A class of a module that is imported already needs
            no trust.

    Raises:
        UserError: the card is incomplete or of another vocabulary, its model is unknown, or its class is not trusted.
    """
    missing = {"model", "spec", "vocabulary"} - card.keys()
    if missing:
        raise UserError(f"the model card lacks {', '.join(sorted(missing))}")
    if list(card["vocabulary"]) != list(VOCABULARY):
        raise UserError(
            f"weights for a different vocabulary ({' '.join(card['vocabulary'])}): this is {' '.join(VOCABULARY)}"
        )
    config, spec = model_from_dict(card["model"]), from_dict(Spec, card["spec"])
    if isinstance(config, CustomConfig):
        is_imported = config._target_.rpartition(".")[0] in sys.modules
        if not is_imported and not is_trusted(config._target_, trust):
            raise UserError(untrusted_message("the model card", config._target_))
    return build(config, spec)


def save(model: Model, path: Path, **metadata: Any) -> None:
    """Write weights and, beside them, model.json: config, spec, vocabulary, SHA-256 and `metadata`.

    Args:
        path: of the weights, .safetensors.
        metadata: further keys of model.json, as JSON values.
    """
    with atomic_path(path) as temp_path:
        state = model.state_dict().items()
        temp_path.write_bytes(serialize({name: weight.detach().cpu().contiguous().clone() for name, weight in state}))
        checksum = _sha256(temp_path)
    card = make_card(model) | {"sha256": checksum} | metadata
    atomic_write_text(path.with_name(CARD_FILE), json.dumps(card, indent=2) + "\n")


def load(
    run: str | os.PathLike[str], device: torch.device | str = "cpu", trust: Trust = None
) -> tuple[Model, dict[str, Any]]:
    """Load a model in eval mode, and its card.

    Args:
        run: a run directory, a .safetensors file, a checkpoint or `pretrained:NAME`.
        trust: whether the class of a model from outside the package may be imported.

    Raises:
        NotFoundError: nothing to load at `run`.
        UserError: a damaged file; shapes, vocabulary or checksum that the card contradicts; code that is not trusted.
    """
    state_dict, card = load_state_dict(run)
    try:
        with torch.random.fork_rng(devices=[]):  # random initial weights are overwritten
            model = build_from_card(card, trust)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{run} has a card that describes no model: {type(error).__name__} {error}") from error
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        detail = textwrap.shorten(str(error).split("\n")[1].strip(), 200, placeholder=" ...")
        raise UserError(f"{run} has weights of another shape than its card says: {detail}") from error
    return model.eval().to(device), card


def load_state_dict(run: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load the weights, by parameter name, and the card of a model, without building it.

    Args:
        run: a run directory, a .safetensors file, a checkpoint or `pretrained:NAME`.

    Raises:
        NotFoundError: nothing to load at `run`.
        UserError: a damaged file, or a checksum that the card contradicts.
    """
    path = find_weights(run)
    return _load_checkpoint_state(path) if path.suffix == ".ckpt" else _load_safetensors(path)


def find_weights(run: str | os.PathLike[str]) -> Path:
    """Find the file that `load` reads.

    Args:
        run: as in `load`.

    Raises:
        NotFoundError: nothing to load at `run`.
    """
    path = pretrained.resolve_path(run)
    if not path.is_dir():
        return path
    for candidate in ("weights.safetensors", "checkpoints/last.ckpt"):
        if (path / candidate).is_file():
            return path / candidate
    raise NotFoundError(f"{path} holds neither weights.safetensors nor checkpoints/last.ckpt")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a training checkpoint as plain values and tensors on the CPU.

    Raises:
        UserError: not a checkpoint, or one that would run code when unpickled.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{path} is not a checkpoint: {type(error).__name__} {reason}") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} is not a checkpoint: it holds a {type(checkpoint).__name__}")
    return migrate_checkpoint(checkpoint, path)


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        state_dict = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a safetensors file: {error}") from error
    card_path = path.with_name(CARD_FILE)
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{card_path} is missing: weights need their model card beside them") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{card_path} is not a model card: {error}") from error
    if not isinstance(card, dict):
        raise UserError(f"{card_path} is not a model card: it holds a {type(card).__name__}")
    if "sha256" in card and card["sha256"] != _sha256(path):
        raise UserError(f"{path} does not match {card_path}: its SHA-256 differs; copy both files again")
    return migrate_state_dict(state_dict, card), migrate_card(card, card_path)


def _load_checkpoint_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    checkpoint = load_checkpoint(path)
    if "model_card" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(f"{path} is not a checkpoint of mnist_seq: it has no model card")
    state_dict = {
        name.removeprefix(_STATE_DICT_PREFIX): weight
        for name, weight in checkpoint["state_dict"].items()
        if name.startswith(_STATE_DICT_PREFIX)
    }
    return state_dict, checkpoint["model_card"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
