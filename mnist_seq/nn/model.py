"""The contract of every model."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.nn.decoding import Readout


class Model(nn.Module, ABC):
    """Reads images. `forward` is between a model and the loss that teaches it; whoever uses a model calls these."""

    config: EncoderConfig
    spec: Spec

    @abstractmethod
    def read(self, images: Tensor) -> Readout:
        """The digits of each image, from the image alone.

        Args:
            images: B 1 H W as in the spec, uint8 grey levels or floats in [0, 1], ink on 0.
        """

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """A summary of each image; B D."""
