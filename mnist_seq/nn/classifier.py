"""An encoder-only Transformer that classifies every cell of the canvas at once (Dosovitskiy et al. 2021).

Shapes: B batch, Y X image, C cells, T class tokens and patches, D model width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from mnist_seq.config import ClassifierConfig, Spec
from mnist_seq.nn.blocks import Float32Linear, init_weights
from mnist_seq.nn.decoding import DecodeOutput, by_cells
from mnist_seq.nn.encoder import Encoder
from mnist_seq.nn.model import Model, check_cells
from mnist_seq.vocabulary import EMPTY_CELL


class Classifier(Model):
    """Vision Transformer with a prediction per cell: one of the ten digits, or empty."""

    output_type = "cells"

    def __init__(self, config: ClassifierConfig, spec: Spec) -> None:
        super().__init__()
        check_cells(config.name, spec)
        self.config, self.spec = config, spec
        num_cells = spec.cells[0] * spec.cells[1]
        num_class_tokens = {"cells": num_cells, "cls": 1}.get(config.pooling, 0)
        num_heads = 1 if config.pooling == "cells" else num_cells  # linear heads: shared by all cells, or one each
        self.encoder = Encoder(config, spec, num_class_tokens)
        self.pool = POOLINGS[config.pooling](config.dim, num_class_tokens)
        self.head = Float32Linear(config.dim, num_heads * (EMPTY_CELL + 1))
        self.apply(init_weights)

    def forward(self, images: Num[Tensor, "B 1 Y X"]) -> Float[Tensor, "B C 11"]:
        """Compute the logits of each cell's class.

        Args:
            images: uint8 grey levels, or floats in [0, 1].
        """
        pooled = self.pool(self.encoder(images))  # B C D with a shared head, B 1 D with one head per cell
        return self.head(pooled).unflatten(-1, (-1, EMPTY_CELL + 1)).flatten(1, 2)

    def embed(self, images: Num[Tensor, "B 1 Y X"]) -> Float[Tensor, "B D"]:
        """Summarize each image by the mean of the pooled vectors."""
        return self.pool(self.encoder(images)).mean(1)

    @torch.no_grad()
    def read(self, images: Num[Tensor, "B 1 Y X"]) -> DecodeOutput:
        """Predict all cells, and list the digits in raster order."""
        return by_cells(self(images))


class ClassTokenPool(nn.Module):
    """Keep the class tokens."""

    def __init__(self, dim: int, num_class_tokens: int) -> None:
        super().__init__()
        self.num_class_tokens = num_class_tokens

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B C D"]:
        return x[:, : self.num_class_tokens]


class MeanPool(nn.Module):
    """Average all patches."""

    def __init__(self, dim: int, num_class_tokens: int) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B 1 D"]:
        return x.mean(1, keepdim=True)


class SequencePool(nn.Module):
    """Average all patches with learned, input-dependent weights (SeqPool, Hassani et al. 2021)."""

    def __init__(self, dim: int, num_class_tokens: int) -> None:
        super().__init__()
        self.attention_pool = nn.Linear(dim, 1, bias=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B 1 D"]:
        return self.attention_pool(x).softmax(1).mT @ x


POOLINGS: dict[str, type[nn.Module]] = {
    "cells": ClassTokenPool,
    "cls": ClassTokenPool,
    "mean": MeanPool,
    "sequence": SequencePool,
}
