"""An encoder-only Transformer that reads every cell of the canvas at once (Dosovitskiy et al. 2021).

Shapes   B batch   P patches   C cells   D model width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_seq.config import ClassifierConfig, Spec
from mnist_seq.config.law import require
from mnist_seq.nn import decoding
from mnist_seq.nn.blocks import EncoderBlock, initialise
from mnist_seq.nn.embed import PatchEmbedding, learned
from mnist_seq.nn.model import Model
from mnist_seq.tokens import EMPTY


class Classifier(Model):
    """A [CLS] token and a head for each cell: ten digits, or empty."""

    def __init__(self, config: ClassifierConfig, spec: Spec) -> None:
        super().__init__()
        require(
            spec.cells != (0, 0),
            "model=classifier reads a digit a cell, but two digits of these scenes can share one: choose model=enc_dec",
        )
        self.config, self.spec = config, spec
        self.cells = spec.cells[0] * spec.cells[1]
        self.patches = PatchEmbedding(spec, config.dim, config.patch)
        self.class_tokens = learned(self.cells, config.dim)
        width = (config.dim, config.heads, config.mlp_ratio, config.dropout)
        self.encoder = nn.ModuleList(EncoderBlock(*width) for _ in range(config.encoder_depth))
        self.norm = nn.LayerNorm(config.dim)
        self.heads = nn.Linear(config.dim, EMPTY + 1)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each cell's class; B C 11.

        Args:
            images: B 1 H W, uint8 or floats in [0, 1].
        """
        return self.heads(self.encode(images)[:, : self.cells])

    def encode(self, images: Tensor) -> Tensor:
        """The class tokens and then the patches; B C+P D."""
        patches = self.patches(images)
        x = self.dropout(torch.cat([self.class_tokens.expand(len(images), -1, -1), patches], 1))
        for block in self.encoder:
            x = block(x)
        return self.norm(x)

    def embed(self, images: Tensor) -> Tensor:
        """The encoder's summary: the mean of the class tokens; B D."""
        return self.encode(images)[:, : self.cells].mean(1)

    @torch.no_grad()
    def read(self, images: Tensor) -> decoding.Readout:
        """The digits of each image, cell by cell in raster order."""
        return decoding.by_cells(self(images))
