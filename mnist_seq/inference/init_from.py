"""Initialize a model with the weights of another (`init_from=`), as far as names and shapes match.

If the longest sequences differ, the position embeddings that both models have are copied.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnist_seq.errors import UserError
from mnist_seq.inference.weights import load_state_dict, make_card
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model


@dataclass(frozen=True)
class InitReport:
    """Which weights were loaded from another model, and which were not."""

    source: str
    """The other model, as `init_from` names it."""
    loaded_keys: list[str]
    """Parameters that were loaded."""
    skipped_keys: dict[str, str]
    """Parameter, or part of one, that keeps its own initialization -> reason."""
    config_differences: dict[str, str]
    """Key of the model's config with another value in the source -> both values."""
    loaded_fraction: float
    """Fraction of the model's weights that were loaded, in [0, 1]."""
    trained_on_val: list[str]
    """Digit sources whose val digits the source model, or its own `init_from`, was trained on (`data.pool=full`)."""
    trained_images: str = ""
    """Digests of the images that the source model was trained on, see `data.trained_images`."""
    pretraining_seconds: float | None = None
    """How long the source model was trained, with all that it was itself initialized from; None where unknown."""

    def __str__(self) -> str:
        skipped, differences = (
            "; ".join(f"{name} ({reason})" for name, reason in entries.items()) or "none"
            for entries in (self.skipped_keys, self.config_differences)
        )
        return (
            f"{self.loaded_fraction:.0%} of the weights are from {self.source}; "
            f"not loaded: {skipped}; config differs: {differences}"
        )


def load_matching(model: Model, run: str | os.PathLike[str]) -> InitReport:
    """Copy the weights of another model whose names and shapes match, in place.

    Args:
        run: a run directory, weights, a checkpoint or `pretrained:NAME`.

    Raises:
        NotFoundError: nothing to load at `run`.
        UserError: a damaged file, or no weight matches.
    """
    (source_state, card), own_state = load_state_dict(run), model.state_dict()
    skipped_positions = _fit_positions(source_state, own_state) if isinstance(model, EncoderDecoder) else {}
    skipped = dict.fromkeys(own_state.keys() - source_state.keys(), "not there")
    for name in own_state.keys() & source_state.keys():
        if own_state[name].shape != source_state[name].shape:
            skipped[name] = f"{_format_shape(source_state[name])} there, {_format_shape(own_state[name])} here"
    loaded = [name for name in own_state if name not in skipped]
    if not loaded:
        raise UserError(f"init_from={run}: none of its weights matches this model in name and shape")
    model.load_state_dict({name: source_state[name] for name in loaded}, strict=False)
    num_loaded = sum(own_state[name].numel() for name in loaded)
    num_loaded -= sum(own_state[name][kept:].numel() for name, kept in skipped_positions.items())
    source_config, own_config = card.get("model", {}), make_card(model)["model"]
    return InitReport(
        source=str(run),
        loaded_keys=loaded,
        skipped_keys={name: skipped[name] for name in own_state if name in skipped}
        | {f"{name}[{kept}:]": "not there" for name, kept in skipped_positions.items()},
        config_differences={
            key: f"{source_config[key]} there, {value} here"
            for key, value in own_config.items()
            if source_config.get(key, value) != value
        },
        loaded_fraction=num_loaded / sum(weight.numel() for weight in own_state.values()),
        trained_on_val=card.get("trained_on_val", []),
        trained_images=card.get("trained_images", ""),
        pretraining_seconds=_total_seconds(card.get("trained", {})),
    )


def _fit_positions(source_state: dict[str, Tensor], own_state: dict[str, Tensor]) -> dict[str, int]:
    """Give the decoder's learned positions of the source the length of the model's, in place.

    Positions that the source lacks are the model's own.

    Returns:
        Name of the longer table -> number of positions that the source has.
    """
    num_kept = {}
    for name in {"pos_embed.table", "pos_embed.tables.0"} & source_state.keys() & own_state.keys():
        source, own = source_state[name], own_state[name]
        if source.shape[1:] != own.shape[1:]:
            continue
        if len(source) < len(own):
            num_kept[name] = len(source)
        source_state[name] = torch.cat([source[: len(own)], own[len(source) :]])
    return num_kept


def describe_init(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Say in a card what a run was initialized from, and how long that was trained; empty for a run from scratch.

    Args:
        metrics: of the run.
    """
    if "init_from" not in metrics:
        return {}
    report = metrics["init_from"]
    return {"init_from": report["source"], "pretraining_seconds": report.get("pretraining_seconds")}


def _total_seconds(trained: dict[str, Any]) -> float | None:
    """Return the training time of a model with a card, and of all that it was initialized from."""
    before = trained.get("pretraining_seconds") if "init_from" in trained else 0.0
    return None if before is None or "seconds" not in trained else trained["seconds"] + before


def _format_shape(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))
