"""The image encoder that every built-in model shares.

Shapes: B batch, Y X image, T class tokens and patches, D model width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.nn.blocks import EncoderBlock, final_norm
from mnist_seq.nn.patch_embed import PatchEmbed
from mnist_seq.nn.positions import POS_EMBEDS, embedding_parameter


class Encoder(nn.Module):
    """Vision Transformer encoder (Dosovitskiy et al. 2021): patches, optional class tokens before them, and blocks."""

    def __init__(self, config: EncoderConfig, spec: Spec, num_class_tokens: int = 0) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config, spec)
        self.pos_embed = POS_EMBEDS[config.pos_embed](self.patch_embed.grid_size, config.dim, config.qk_dim)
        self.class_tokens = embedding_parameter(num_class_tokens, config.dim) if num_class_tokens else None
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_depth))
        self.norm = final_norm(config)

    def forward(self, images: Num[Tensor, "B 1 Y X"]) -> Float[Tensor, "B T D"]:
        """Encode images: class tokens first, then patches in raster order.

        Args:
            images: uint8 grey levels, or floats in [0, 1].
        """
        patches = self.patch_embed(images).to(next(self.parameters()).dtype)  # under autocast too, residuals stay exact
        x, rope = self.pos_embed(patches), self.pos_embed.rope()
        if self.class_tokens is not None:
            x = torch.cat([self.class_tokens.expand(x.shape[0], -1, -1), x], 1)
            rope = rope and rope.with_prefix(len(self.class_tokens))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, rope=rope)
        return self.norm(x)
