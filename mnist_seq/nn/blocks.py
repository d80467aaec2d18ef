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
from mnist_seq.nn.positions import Rope

_EPS = 1e-5


class RMSNorm(nn.RMSNorm):
    """Root mean square layer normalisation (Zhang & Sennrich 2019), in its weights' precision, as LayerNorm is."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


NORM_TYPES: dict[str, Callable[[int], nn.Module]] = {
    "layer": partial(nn.LayerNorm, eps=_EPS),
    "rms": partial(RMSNorm, eps=_EPS),
}


class Residual(nn.Module):
    """The path around a sublayer, with the norm before it: x + sublayer(norm(x)) (Xiong et al. 2020)."""

    def __init__(self, config: EncoderConfig, drop_path: float) -> None:
        super().__init__()
        self.norm = NORM_TYPES[config.norm_type](config.dim)
        self.dropout, self.drop_path = nn.Dropout(config.dropout), drop_path

    def pre(self, x: Tensor) -> Tensor:
        """What the sublayer gets."""
        return self.norm(x)

    def post(self, x: Tensor, out: Tensor) -> Tensor:
        """What goes on, of what came in and what the sublayer found."""
        return x + self._dropout(out)

    def _dropout(self, out: Tensor) -> Tensor:
        """Dropped in part, and now and then, in training, for a whole scene (Huang et al. 2016)."""
        out = self.dropout(out)
        if not self.training or self.drop_path == 0:
            return out
        kept = torch.rand(len(out), 1, 1, device=out.device) >= self.drop_path
        return out * kept / (1 - self.drop_path)


class PostNormResidual(Residual):
    """With the norm after the sum, as in the first paper: norm(x + sublayer(x)) (Vaswani et al. 2017, 3.1)."""

    def pre(self, x: Tensor) -> Tensor:
        return x

    def post(self, x: Tensor, out: Tensor) -> Tensor:
        return self.norm(x + self._dropout(out))


RESIDUALS: dict[str, type[Residual]] = {"pre": Residual, "post": PostNormResidual}


class FeedForward(nn.Module):
    """Position-wise feed-forward layer (Vaswani et al. 2017, 3.3)."""

    def __init__(self, dim: int, mlp_ratio: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.fc1, self.fc2 = nn.Linear(dim, mlp_ratio * dim), nn.Linear(mlp_ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B L D
        return self.fc2(self.activation(self.fc1(x)))


class GatedFeedForward(nn.Module):
    """Half of the hidden width gates the other half: SwiGLU (Shazeer 2020)."""

    def __init__(self, dim: int, mlp_ratio: int) -> None:
        super().__init__()
        hidden = max(1, round(2 * mlp_ratio * dim / 3))
        self.fc1, self.fc2 = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:  # B L D
        gate, hidden = self.fc1(x).chunk(2, -1)
        return self.fc2(F.silu(gate) * hidden)


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
        self.attention = Attention(config.dim, config.num_heads, config.qk_dim)
        self.feed_forward = FEED_FORWARDS[config.activation](config.dim, config.mlp_ratio)
        self.attention_residual, self.feed_forward_residual = residual(), residual()

    def forward(self, x: Tensor, mask: Tensor | None = None, rope: Rope | None = None) -> Tensor:
        """All tokens look at once.

        Args:
            x: B L D.
            mask: L L or broadcastable to B H L L, True where a token may attend; None for everywhere.
            turn: of queries and keys.
        """
        seen = self.attention_residual.pre(x)
        x = self.attention_residual.post(x, self.attention(seen, self.attention.project_kv(seen, rope), mask, rope))
        return self.feed_forward_residual.post(x, self.feed_forward(self.feed_forward_residual.pre(x)))


class DecoderBlock(nn.Module):
    """Tokens look at those before them, then at the image, then each is transformed alone."""

    def __init__(self, config: EncoderConfig, drop_path: float = 0.0) -> None:
        super().__init__()
        residual = partial(RESIDUALS[config.norm], config, drop_path)
        width = (config.dim, config.num_heads, config.qk_dim)
        self.attention, self.cross_attention = Attention(*width), Attention(*width)
        self.feed_forward = FEED_FORWARDS[config.activation](config.dim, config.mlp_ratio)
        self.attention_residual, self.cross_attention_residual, self.feed_forward_residual = (
            residual(),
            residual(),
            residual(),
        )

    def forward(
        self, x: Tensor, self_kv: KeyValue, cross_kv: KeyValue, mask: Tensor | None, rope: Rope | None = None
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
        seen = self.attention_residual.pre(x)
        self_kv = self_kv.extend(self.attention.project_kv(seen, rope))
        x = self.attention_residual.post(x, self.attention(seen, self_kv, mask, rope))
        x = self.cross_attention_residual.post(x, self.cross_attention(self.cross_attention_residual.pre(x), cross_kv))
        return self.feed_forward_residual.post(x, self.feed_forward(self.feed_forward_residual.pre(x))), self_kv


def drop_path_rates(config: EncoderConfig, depth: int) -> list[float]:
    """Of each block of a stack: equal steps up to `config.drop_path` at the last (Huang et al. 2016)."""
    return [config.drop_path * (block + 1) / depth for block in range(depth)]


def final_norm(config: EncoderConfig) -> nn.Module:
    """At the end of a stack: pre-norm blocks leave their sum as it is, post-norm ones have normed it."""
    return NORM_TYPES[config.norm_type](config.dim) if config.norm == "pre" else nn.Identity()


def init_weights(module: nn.Module) -> None:
    """For `Module.apply`: Xavier-uniform matrices, zero biases, and zero matrices at the end of each residual branch.

    So each branch starts silent (as in Fixup, Zhang, Dauphin & Ma 2019), and models learn faster for it.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        nn.init.zeros_(module.out_proj.weight)
    elif isinstance(module, (FeedForward, GatedFeedForward)):
        nn.init.zeros_(module.fc2.weight)
