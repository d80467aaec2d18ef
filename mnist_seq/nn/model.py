"""The contract of every model, ours and yours."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from mnist_seq.config import ModelConfig, Spec
from mnist_seq.config.validation import check
from mnist_seq.nn.decoding import DecodeOutput


class Model(nn.Module, ABC):
    """Reads images.

    One of your own is a subclass of this, named as `model=custom model._target_=mine.Reader`: its constructor gets
    `spec` and, by name, every other key of `model`. What `forward` is given while it learns depends on `output_type`:

        "sequence"   forward(images, tokens) -> logits of the token after each, B L 13
        "cells"      forward(images) -> logits of each cell's class, the digits and EMPTY, B C 11
    """

    output_type: ClassVar[str]
    """`sequence` or `cells`."""
    config: ModelConfig
    """Set when the model is built."""
    spec: Spec
    """Canvas, longest sequence and cells; set when the model is built."""

    forward: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "reads" in vars(cls) and "output_type" not in vars(cls):
            warnings.warn(f"{cls.__qualname__}.reads is now called output_type", FutureWarning, stacklevel=2)
            cls.output_type = vars(cls)["reads"]

    @abstractmethod
    def read(self, images: Tensor) -> DecodeOutput:
        """The digits of each image, from the image alone: `decoding.greedy` and `by_cells` help.

        Args:
            images: B 1 H W as in the spec, uint8 grey levels or floats in [0, 1], ink on 0.
        """

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """A summary of each image; B D."""


def check_cells(name: str, spec: Spec) -> None:
    """Refuse scenes without cells that hold a digit each, for a model that reads by cells.

    Raises:
        UserError: they have none.
    """
    check(
        spec.cells != (0, 0),
        f"model={name} reads a digit a cell, but two digits of these scenes can share one, or the labels of their "
        "folder name no cells: choose model=enc_dec",
    )
