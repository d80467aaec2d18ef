"""An encoder-only Transformer that reads every cell of the canvas at once (Dosovitskiy et al. 2021).

Shapes   B batch   P patches   C cells   D model width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_seq.config import ClassifierConfig, Spec
from mnist_seq.nn import decoding
from mnist_seq.nn.blocks import init_weights
from mnist_seq.nn.encoder import Encoder
from mnist_seq.nn.model import Model, check_cells
from mnist_seq.vocabulary import EMPTY_CELL


class Classifier(Model):
    """A head for each cell: ten digits, or empty."""

    output_type = "cells"

    def __init__(self, config: ClassifierConfig, spec: Spec) -> None:
        super().__init__()
        check_cells(config.name, spec)
        self.config, self.spec = config, spec
        cells = spec.cells[0] * spec.cells[1]
        class_tokens, heads = {"cells": (cells, 1), "cls": (1, cells)}.get(config.pooling, (0, cells))
        self.encoder = Encoder(config, spec, class_tokens)
        self.pool = POOLINGS[config.pooling](config.dim, class_tokens)
        self.head = nn.Linear(config.dim, heads * (EMPTY_CELL + 1))
        self.apply(init_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each cell's class; B C 11.

        Args:
            images: B 1 H W, uint8 or floats in [0, 1].
        """
        pooled = self.pool(self.encoder(images))  # B C D under one head, or B 1 D under a head for each cell
        return self.head(pooled).unflatten(-1, (-1, EMPTY_CELL + 1)).flatten(1, 2)

    def embed(self, images: Tensor) -> Tensor:
        """The encoder's summary: the mean of what the heads look at; B D."""
        return self.pool(self.encoder(images)).mean(1)

    @torch.no_grad()
    def read(self, images: Tensor) -> decoding.DecodeOutput:
        """The digits of each image, cell by cell in raster order."""
        return decoding.by_cells(self(images))


class ClassTokenPool(nn.Module):
    """The [CLS] tokens alone."""

    def __init__(self, dim: int, num_class_tokens: int) -> None:
        super().__init__()
        self.num_class_tokens = num_class_tokens

    def forward(self, x: Tensor) -> Tensor:  # B C+P D
        return x[:, : self.num_class_tokens]


class MeanPool(nn.Module):
    """The mean of all patches."""

    def __init__(self, dim: int, num_class_tokens: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:  # B P D
        return x.mean(1, keepdim=True)


class SequencePool(nn.Module):
    """A mean of all patches, each weighed by what it holds (Hassani et al. 2021)."""

    def __init__(self, dim: int, num_class_tokens: int) -> None:
        super().__init__()
        self.attention_pool = nn.Linear(dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # B P D
        return self.attention_pool(x).softmax(1).mT @ x


POOLINGS: dict[str, type[nn.Module]] = {
    "cells": ClassTokenPool,
    "cls": ClassTokenPool,
    "mean": MeanPool,
    "sequence": SequencePool,
}
