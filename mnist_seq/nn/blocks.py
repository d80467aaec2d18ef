"""Encoder and decoder blocks: sublayers, each with a residual path around it.

Shapes   B batch   L tokens   D model width
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig
from mnist_seq.nn.attention import Attention, KeyValue
from mnist_seq.nn.positions import Turn

_EPSILON = 1e-5


class RMSNorm(nn.RMSNorm):
    """Root mean square layer normalisation (Zhang & Sennrich 2019), in its weights' precision, as LayerNorm is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


NORM_TYPES: dict[str, Callable[[int], nn.Module]] = {
    "layer": partial(nn.LayerNorm, eps=_EPSILON),
    "rms": partial(RMSNorm, eps=_EPSILON),
}


class Residual(nn.Module):
    """The path around a sublayer, with the norm before it: x + sublayer(norm(x)) (Xiong et al. 2020)."""

    def __init__(self, config: EncoderConfig, drop_path: float) -> None:
        super().__init__()
        self.norm = NORM_TYPES[config.norm_type](config.dim)
        self.dropout, self.drop_path = nn.Dropout(config.dropout), drop_path

    def enter(self, x: Tensor) -> Tensor:
        """What the sublayer gets."""
        return self.norm(x)

    def leave(self, x: Tensor, found: Tensor) -> Tensor:
        """What goes on, of what came in and what the sublayer found."""
        return x + self._branch(found)

    def _branch(self, found: Tensor) -> Tensor:
        """Dropped in part, and now and then, in training, for a whole scene (Huang et al. 2016)."""
        found = self.dropout(found)
        if not self.training or self.drop_path == 0:
            return found
        kept = torch.rand(len(found), 1, 1, device=found.device) >= self.drop_path
        return found * kept / (1 - self.drop_path)


class PostNormResidual(Residual):
    """With the norm after the sum, as in the first paper: norm(x + sublayer(x)) (Vaswani et al. 2017, 3.1)."""

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, x: Tensor, found: Tensor) -> Tensor:
        return self.norm(x + self._branch(found))


RESIDUALS: dict[str, type[Residual]] = {"pre": Residual, "post": PostNormResidual}


class FeedForward(nn.Module):
    """Position-wise feed-forward layer (Vaswani et al. 2017, 3.3)."""

    def __init__(self, dim: int, ratio: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.widen, self.shrink = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B L D
        return self.shrink(self.activation(self.widen(x)))


class GatedFeedForward(nn.Module):
    """Half of the hidden width gates the other half: SwiGLU (Shazeer 2020)."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        hidden = max(1, round(2 * ratio * dim / 3))
        self.widen, self.shrink = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:  # B L D
        gate, hidden = self.widen(x).chunk(2, -1)
        return self.shrink(F.silu(gate) * hidden)


FEED_FORWARDS: dict[str, Callable[[int, int], nn.Module]] = {
    "relu": partial(FeedForward, activation=F.relu),
    "gelu": partial(FeedForward, activation=F.gelu),  # Hendrycks & Gimpel 2016
    "swiglu": GatedFeedForward,
}


class EncoderBlock(nn.Module):
    """Tokens look at each other, then each is transformed alone."""

    def __init__(self, config: EncoderConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        residual = partial(RESIDUALS[config.norm], config, drop_path)
        self.attention = Attention(config.dim, config.heads, config.key_width)
        self.feed_forward = FEED_FORWARDS[config.activation](config.dim, config.mlp_ratio)
        self.around_attention, self.around_feed_forward = residual(), residual()

    def forward(self, x: Tensor, mask: Tensor | None = None, turn: Turn | None = None) -> Tensor:
        """All tokens look at once.

        Args:
            x: B L D.
            mask: L L or broadcastable to B H L L, True where a token may attend; None for everywhere.
            turn: of queries and keys.
        """
        seen = self.around_attention.enter(x)
        x = self.around_attention.leave(x, self.attention(seen, self.attention.memory(seen, turn), mask, turn))
        return self.around_feed_forward.leave(x, self.feed_forward(self.around_feed_forward.enter(x)))


class DecoderBlock(nn.Module):
    """Tokens look at those before them, then at the image, then each is transformed alone."""

    def __init__(self, config: EncoderConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        residual = partial(RESIDUALS[config.norm], config, drop_path)
        width = (config.dim, config.heads, config.key_width)
        self.attention, self.cross_attention = Attention(*width), Attention(*width)
        self.feed_forward = FEED_FORWARDS[config.activation](config.dim, config.mlp_ratio)
        self.around_attention, self.around_cross, self.around_feed_forward = residual(), residual(), residual()

    def forward(
        self, x: Tensor, past: KeyValue, image: KeyValue, mask: Tensor | None, turn: Turn | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Read on by L tokens.

        Args:
            x: B L D, the new tokens.
            past: keys and values of the tokens before them.
            image: keys and values of the image, `cross_attention.memory` of the encoder's output.
            mask: L past+L or broadcastable to B H L past+L, True where a token may attend; None for everywhere.
            turn: of the new tokens.

        Returns:
            The tokens, B L D, and the past with them in it.
        """
        seen = self.around_attention.enter(x)
        past = past.extend(self.attention.memory(seen, turn))
        x = self.around_attention.leave(x, self.attention(seen, past, mask, turn))
        x = self.around_cross.leave(x, self.cross_attention(self.around_cross.enter(x), image))
        return self.around_feed_forward.leave(x, self.feed_forward(self.around_feed_forward.enter(x))), past


def drop_paths(config: EncoderConfig, depth: int) -> list[float]:
    """Of each block of a stack: equal steps up to `config.drop_path` at the last (Huang et al. 2016)."""
    return [config.drop_path * (block + 1) / depth for block in range(depth)]


def final_norm(config: EncoderConfig) -> nn.Module:
    """At the end of a stack: pre-norm blocks leave their sum as it is, post-norm ones have normed it."""
    return NORM_TYPES[config.norm_type](config.dim) if config.norm == "pre" else nn.Identity()


def initialise(module: nn.Module) -> None:
    """For `Module.apply`: Xavier-uniform matrices, zero biases, and zero matrices at the end of each residual branch.

    So each branch starts silent (as in Fixup, Zhang, Dauphin & Ma 2019), and models learn faster for it.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        nn.init.zeros_(module.merge.weight)
    elif isinstance(module, (FeedForward, GatedFeedForward)):
        nn.init.zeros_(module.shrink.weight)
