"""Building models: from a config, from a model card, or from a class outside the package."""

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
from mnist_seq.nn.classifier import Classifier
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model, check_cells
from mnist_seq.vocabulary import VOCABULARY


def build_custom(config: CustomConfig, spec: Spec) -> Model:
    """Build a model from a class outside the package, whose module is imported; `Model` documents the contract.

    Raises:
        UserError: the class is missing, is not a `Model`, or does not take the arguments.
    """
    key, (module_name, _, name) = f"model._target_={config._target_}", config._target_.rpartition(".")
    cls = getattr(_import_module(key, module_name), name, None)
    if cls is None:
        raise UserError(f"{key} cannot be found: module {module_name!r} has no attribute {name!r}")
    is_model = isinstance(cls, type) and issubclass(cls, Model)
    if not is_model or getattr(cls, "output_type", None) not in ("sequence", "cells"):
        raise UserError(f"{key} is not a subclass of mnist_seq.nn.Model with output_type = 'sequence' or 'cells'")
    if cls.output_type == "cells":
        check_cells(config._target_, spec)
    try:
        inspect.signature(cls).bind(spec=spec, **config.kwargs)
    except TypeError as problem:
        raise UserError(f"{key} cannot be built: {problem}") from problem
    model: Model = cls(spec=spec, **config.kwargs)
    model.config, model.spec = config, spec
    return model


def _import_module(key: str, module_name: str) -> ModuleType:
    """Import a module; an error that its own code raises keeps its traceback."""
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
    "custom": build_custom,
}


def build(config: ModelConfig, spec: Spec) -> Model:
    """Build the model that a config describes, with random weights."""
    return MODELS[config.name](config, spec)


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
