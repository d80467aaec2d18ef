"""What looks at the image, in every model.

Shapes   B batch   C class tokens   P patches   D model width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.nn.blocks import EncoderBlock, drop_paths, final_norm
from mnist_seq.nn.embed import Patches
from mnist_seq.nn.positions import POSITIONS, learned


class Encoder(nn.Module):
    """Patches with a place, and class tokens before them where they are asked for, that look at each other."""

    def __init__(self, config: EncoderConfig, spec: Spec, class_tokens: int = 0) -> None:
        super().__init__()
        self.patches = Patches(config, spec)
        self.position = POSITIONS[config.position](self.patches.raster, config.dim, config.key_width)
        self.class_tokens = learned(class_tokens, config.dim) if class_tokens else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(EncoderBlock(config, drop) for drop in drop_paths(config, config.encoder_depth))
        self.norm = final_norm(config)

    def forward(self, images: Tensor) -> Tensor:
        """The class tokens and then the patches; B C+P D.

        Args:
            images: B 1 H W, uint8 or floats in [0, 1].
        """
        patches = self.patches(images).to(next(self.parameters()).dtype)  # autocast or not, residuals are summed in it
        x, turn = self.position(patches), self.position.turn()
        if self.class_tokens is not None:
            x = torch.cat([self.class_tokens.expand(x.shape[0], -1, -1), x], 1)
            turn = turn and turn.after(len(self.class_tokens))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, turn=turn)
        return self.norm(x)
