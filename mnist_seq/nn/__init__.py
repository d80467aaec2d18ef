"""What the reader is: plain torch, written from scratch. No Lightning, no Hydra, no data."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mnist_seq.config import CustomConfig, ModelConfig, Spec
from mnist_seq.config.migrations import SCHEMA_VERSION
from mnist_seq.config.serialization import from_dict, model_from_dict, to_dict
from mnist_seq.config.trust import Trust, is_trusted, untrusted_message
from mnist_seq.errors import UserError
from mnist_seq.nn.attention_maps import compute_attention_maps
from mnist_seq.nn.classifier import Classifier
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model, check_cells
from mnist_seq.vocabulary import VOCABULARY

__all__ = [
    "MODELS",
    "Classifier",
    "EncoderDecoder",
    "Model",
    "build",
    "build_from_card",
    "compute_attention_maps",
    "make_card",
]


def custom(config: CustomConfig, spec: Spec) -> Model:
    """A model from outside the package: `Model` says what it must do. Imports its module.

    Raises:
        ValueError: no such class, not one of a model, or arguments that it does not take.
    """
    key, (place, _, name) = f"model._target_={config._target_}", config._target_.rpartition(".")
    target = getattr(_import_module(key, place), name, None)
    if target is None:
        raise UserError(f"{key} cannot be found: module {place!r} has no attribute {name!r}")
    known = isinstance(target, type) and issubclass(target, Model)
    if not known or getattr(target, "output_type", None) not in ("sequence", "cells"):
        raise UserError(f"{key} is no subclass of mnist_seq.nn.Model with output_type = 'sequence' or 'cells'")
    if target.output_type == "cells":
        check_cells(config._target_, spec)
    try:
        inspect.signature(target).bind(spec=spec, **config.kwargs)
    except TypeError as problem:
        raise UserError(f"{key} cannot be built: {problem}") from problem
    made: Model = target(spec=spec, **config.kwargs)
    made.config, made.spec = config, spec
    return made


def _import_module(key: str, module_name: str) -> ModuleType:
    """A module by its name; one that is there but fails while it is imported keeps its traceback."""
    try:
        if module_name:
            return importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if not f"{module_name}.".startswith(f"{problem.name}."):
            raise
        raise UserError(f"{key} cannot be found: {problem}") from problem
    raise UserError(f"{key} cannot be found: name a class with its module, as in model._target_=mine.Reader")


MODELS: dict[str, Callable[[Any, Spec], Model]] = {
    "enc_dec": EncoderDecoder,
    "classifier": Classifier,
    "custom": custom,
}


def build(config: ModelConfig, spec: Spec) -> Model:
    """The model that a config describes, for a problem of this shape, with random weights."""
    return MODELS[config.name](config, spec)


def make_card(model: Model) -> dict[str, Any]:
    """All that is needed beside the weights to build the model again, in plain values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": to_dict(model.config),
        "spec": to_dict(model.spec),
        "vocabulary": list(VOCABULARY),
    }


def build_from_card(card: dict[str, Any], trust: Trust = None) -> Model:
    """The model that a card describes, with random weights.

    Args:
        trust: whether a class from outside the package may be imported; one whose module the caller has imported may
            be used.

    Raises:
        ValueError: a card of another vocabulary, of a model that this version does not know, or of one from outside
            the package that is not trusted.
    """
    missing = {"model", "spec", "vocabulary"} - card.keys()
    if missing:
        raise UserError(f"the model card lacks {', '.join(sorted(missing))}")
    if list(card["vocabulary"]) != list(VOCABULARY):
        raise UserError(
            f"weights of another vocabulary ({' '.join(card['vocabulary'])}): this is {' '.join(VOCABULARY)}"
        )
    config, spec = model_from_dict(card["model"]), from_dict(Spec, card["spec"])
    if isinstance(config, CustomConfig):
        place = config._target_.rpartition(".")[0]
        if place not in sys.modules and not is_trusted(config._target_, trust):
            raise UserError(untrusted_message("the model card", config._target_))
    return build(config, spec)
