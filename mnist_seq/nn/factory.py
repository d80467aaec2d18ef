"""Building models: from a config, or from a class outside the package."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from mnist_seq.config import CustomConfig, ModelConfig, Spec
from mnist_seq.errors import UserError
from mnist_seq.nn.classifier import Classifier
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.nn.model import Model, check_cells


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
        if module_name and not module_name.startswith("."):
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
