"""The base class of every model, built-in or custom.

Shapes: B batch, Y X image, D width of the summary; L tokens, C cells.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float, Num
from torch import Tensor, nn

from mnist_seq.config import ModelConfig, Spec
from mnist_seq.config.validation import check
from mnist_seq.nn.decoding import DecodeOutput


class Model(nn.Module, ABC):
    """A model that reads digits from images.

    A custom model is a subclass, chosen by `model=custom model._target_=mine.Reader`. Its constructor gets `spec` and,
    as keyword arguments, every other key of `model`. In training, `forward` is called according to `output_type`:

        "sequence"   forward(images, tokens) -> logits of the token after each, B L 13
        "cells"      forward(images) -> logits of each cell's class, the ten digits and empty, B C 11
    """

    output_type: ClassVar[str]
    """`sequence` or `cells`."""
    config: ModelConfig
    """Set when the model is built."""
    spec: Spec
    """Image size, longest sequence and cells; set when the model is built."""

    forward: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "reads" in vars(cls) and "output_type" not in vars(cls):
            warnings.warn(f"{cls.__qualname__}.reads is now called output_type", FutureWarning, stacklevel=2)
            cls.output_type = vars(cls)["reads"]

    @abstractmethod
    def read(self, images: Num[Tensor, "B 1 Y X"]) -> DecodeOutput:
        """Predict the digits of each image from the image alone; `decoding.greedy` and `decoding.by_cells` help.

        Args:
            images: uint8 grey levels, or floats in [0, 1]; ink on a background of 0, of the size in the spec.
        """

    @abstractmethod
    def embed(self, images: Num[Tensor, "B 1 Y X"]) -> Float[Tensor, "B D"]:
        """Summarize each image as a vector."""


def check_cells(name: str, spec: Spec) -> None:
    """Refuse scenes without cells that hold one digit each.

    Raises:
        UserError: the scenes have no such cells.
    """
    check(
        spec.cells != (0, 0),
        f"model={name} predicts one digit per cell, but these scenes have no such cells (two digits can share one, or "
        "the labels of their folder name none): choose model=enc_dec",
    )
