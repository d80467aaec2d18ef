"""The contract of every model, ours and yours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from mnist_seq.config import ModelConfig, Spec
from mnist_seq.config.law import require
from mnist_seq.nn.decoding import Readout


class Model(nn.Module, ABC):
    """Reads images.

    One of your own is a subclass of this, named as `model=custom model._target_=mine.Reader`: its constructor gets
    `spec` and, by name, every other key of `model`. What `forward` is given while it learns depends on `reads`:

        "sequence"   forward(images, tokens) -> logits of the token after each, B L 13
        "cells"      forward(images) -> logits of each cell's class, the digits and EMPTY, B C 11
    """

    reads: ClassVar[str]
    """`sequence` or `cells`."""
    config: ModelConfig
    """Set when the model is built."""
    spec: Spec
    """Canvas, longest sequence and cells; set when the model is built."""

    forward: Any

    @abstractmethod
    def read(self, images: Tensor) -> Readout:
        """The digits of each image, from the image alone: `decoding.greedy` and `by_cells` help.

        Args:
            images: B 1 H W as in the spec, uint8 grey levels or floats in [0, 1], ink on 0.
        """

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """A summary of each image; B D."""


def require_cells(name: str, spec: Spec) -> None:
    """Refuse scenes without cells that hold a digit each, for a model that reads by cells.

    Raises:
        UserError: they have none.
    """
    require(
        spec.cells != (0, 0),
        f"model={name} reads a digit a cell, but two digits of these scenes can share one, or the labels of their "
        "folder name no cells: choose model=enc_dec",
    )
