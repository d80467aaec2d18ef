"""Encoder and decoder blocks, pre-norm: x + sublayer(norm(x)) (Xiong et al. 2020).

Shapes   B batch   L tokens   D model width
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.nn.attention import Attention, KeyValue


class FeedForward(nn.Module):
    """Position-wise feed-forward layer (Vaswani et al. 2017, 3.3) with GELU (Hendrycks & Gimpel 2016)."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.widen, self.shrink = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B L D
        return self.shrink(F.gelu(self.widen(x)))


class EncoderBlock(nn.Module):
    """Tokens look at each other, then each is transformed alone."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(dim), FeedForward(dim, mlp_ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # B L D
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, self.attention.memory(normed)))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class DecoderBlock(nn.Module):
    """Tokens look at those before them, then at the image, then each is transformed alone."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.cross_norm, self.cross_attention = nn.LayerNorm(dim), Attention(dim, heads)
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(dim), FeedForward(dim, mlp_ratio)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, past: KeyValue, image: KeyValue, mask: Tensor | None) -> tuple[Tensor, KeyValue]:
        """Read on by L tokens.

        Args:
            x: B L D, the new tokens.
            past: keys and values of the tokens before them.
            image: keys and values of the image, `cross_attention.memory` of the encoder's output.
            mask: L past+L, True where a token may attend; None for everywhere.

        Returns:
            The tokens, B L D, and the past with them in it.
        """
        normed = self.attention_norm(x)
        past = past.extend(self.attention.memory(normed))
        x = x + self.dropout(self.attention(normed, past, mask))
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), image))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), past


def initialise(module: nn.Module) -> None:
    """For `Module.apply`: Xavier-uniform matrices, zero biases, and zero matrices at the end of each residual branch.

    So every block starts as the identity (as in Fixup, Zhang, Dauphin & Ma 2019), and learns faster for it.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        nn.init.zeros_(module.merge.weight)
    elif isinstance(module, FeedForward):
        nn.init.zeros_(module.shrink.weight)
