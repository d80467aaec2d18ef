"""What the reader is: plain torch, written from scratch. No Lightning, no Hydra, no data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.nn.classifier import Classifier
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model
from mnist_seq.plain import plain, restore, restore_model
from mnist_seq.tokens import VOCABULARY

MODELS: dict[str, Callable[[Any, Spec], Model]] = {"enc_dec": EncoderDecoder, "classifier": Classifier}


def build(config: EncoderConfig, spec: Spec) -> Model:
    """The model that a config describes, for a problem of this shape, with random weights."""
    return MODELS[config.name](config, spec)


def card(model: Model) -> dict[str, Any]:
    """All that is needed beside the weights to build the model again, in plain values."""
    return {"model": plain(model.config), "spec": plain(model.spec), "vocabulary": list(VOCABULARY)}


def from_card(card: dict[str, Any]) -> Model:
    """The model that a card describes, with random weights.

    Raises:
        ValueError: a card of another vocabulary, or of a model that this version does not know.
    """
    missing = {"model", "spec", "vocabulary"} - card.keys()
    if missing:
        raise ValueError(f"the model card lacks {', '.join(sorted(missing))}")
    if list(card["vocabulary"]) != list(VOCABULARY):
        raise ValueError(
            f"weights of another vocabulary ({' '.join(card['vocabulary'])}): this is {' '.join(VOCABULARY)}"
        )
    return build(restore_model(card["model"]), restore(Spec, card["spec"]))
