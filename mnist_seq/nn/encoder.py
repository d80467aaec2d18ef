"""What looks at the image, in every model.

Shapes   B batch   C class tokens   P patches   D model width
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.nn.blocks import EncoderBlock, drop_path_rates, final_norm
from mnist_seq.nn.patch_embed import PatchEmbed
from mnist_seq.nn.positions import POS_EMBEDS, embedding_parameter


class Encoder(nn.Module):
    """Patches with a place, and class tokens before them where they are asked for, that look at each other."""

    def __init__(self, config: EncoderConfig, spec: Spec, num_class_tokens: int = 0) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config, spec)
        self.pos_embed = POS_EMBEDS[config.pos_embed](self.patch_embed.grid_size, config.dim, config.qk_dim)
        self.class_tokens = embedding_parameter(num_class_tokens, config.dim) if num_class_tokens else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            EncoderBlock(config, drop) for drop in drop_path_rates(config, config.encoder_depth)
        )
        self.norm = final_norm(config)

    def forward(self, images: Tensor) -> Tensor:
        """The class tokens and then the patches; B C+P D.

        Args:
            images: B 1 H W, uint8 or floats in [0, 1].
        """
        patches = self.patch_embed(images).to(
            next(self.parameters()).dtype
        )  # autocast or not, residuals are summed in it
        x, turn = self.pos_embed(patches), self.pos_embed.rope()
        if self.class_tokens is not None:
            x = torch.cat([self.class_tokens.expand(x.shape[0], -1, -1), x], 1)
            turn = turn and turn.with_prefix(len(self.class_tokens))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, rope=turn)
        return self.norm(x)
