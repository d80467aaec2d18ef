"""Encoder and decoder blocks: sublayers with residual connections.

Shapes: B batch, L tokens, S tokens that may be attended to, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig
from mnist_seq.nn.attention import Attention, KeyValue
from mnist_seq.nn.positions import Rope

_EPS = 1e-5


class RMSNorm(nn.RMSNorm):
    """Root mean square layer normalization (Zhang & Sennrich 2019), in the dtype of its weights like LayerNorm."""

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return super().forward(x.to(self.weight.dtype))


class Float32Linear(nn.Linear):
    """A linear layer that is computed in float32 under autocast too: in bfloat16, close logits would be equal."""

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B {self.out_features}"]:
        if not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


NORM_TYPES: dict[str, Callable[[int], nn.Module]] = {
    "layer": partial(nn.LayerNorm, eps=_EPS),
    "rms": partial(RMSNorm, eps=_EPS),
}


class Residual(nn.Module):
    """A pre-norm residual connection: x + dropout(sublayer(norm(x))) (Xiong et al. 2020).

    `pre` is called before the sublayer and `post` after it, since sublayers take different arguments.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.norm = NORM_TYPES[config.norm_type](config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def pre(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Compute the input of the sublayer."""
        return self.norm(x)

    def post(self, x: Float[Tensor, "B L D"], out: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Add the output of the sublayer to the block's input."""
        return x + self.dropout(out)


class PostNormResidual(Residual):
    """A post-norm residual connection: norm(x + dropout(sublayer(x))) (Vaswani et al. 2017, 3.1)."""

    def pre(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return x

    def post(self, x: Float[Tensor, "B L D"], out: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self.norm(x + self.dropout(out))


RESIDUALS: dict[str, type[Residual]] = {"pre": Residual, "post": PostNormResidual}


class FeedForward(nn.Module):
    """Position-wise feed-forward layer (Vaswani et al. 2017, 3.3)."""

    def __init__(self, dim: int, mlp_ratio: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation = activation
        self.fc1, self.fc2 = nn.Linear(dim, mlp_ratio * dim), nn.Linear(mlp_ratio * dim, dim)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self.fc2(self.activation(self.fc1(x)))


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): half of the hidden units gate the other half."""

    def __init__(self, dim: int, mlp_ratio: int) -> None:
        super().__init__()
        hidden_dim = max(1, round(2 * mlp_ratio * dim / 3))
        self.fc1, self.fc2 = nn.Linear(dim, 2 * hidden_dim), nn.Linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        gate, hidden = self.fc1(x).chunk(2, -1)
        return self.fc2(F.silu(gate) * hidden)


FEED_FORWARDS: dict[str, Callable[[int, int], nn.Module]] = {
    "relu": partial(FeedForward, activation=F.relu),
    "gelu": partial(FeedForward, activation=F.gelu),  # Hendrycks & Gimpel 2016
    "swiglu": GatedFeedForward,
}


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        residual = partial(RESIDUALS[config.norm], config)
        self.attention = Attention(config.dim, config.num_heads, config.qk_dim)
        self.feed_forward = FEED_FORWARDS[config.activation](config.dim, config.mlp_ratio)
        self.attention_residual, self.feed_forward_residual = residual(), residual()

    def forward(
        self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "*#B #L #S"] | None = None, rope: Rope | None = None
    ) -> Float[Tensor, "B L D"]:
        """Transform a sequence of tokens.

        Args:
            mask: L L, or broadcastable to B H L L; True where a token may attend. None allows every pair.
            rope: rotations of queries and keys.
        """
        normed = self.attention_residual.pre(x)
        out = self.attention(normed, self.attention.project_kv(normed, rope), mask, rope)
        x = self.attention_residual.post(x, out)
        return self.feed_forward_residual.post(x, self.feed_forward(self.feed_forward_residual.pre(x)))


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention to the image and a feed-forward layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        residual = partial(RESIDUALS[config.norm], config)
        attention = partial(Attention, config.dim, config.num_heads, config.qk_dim)
        self.attention, self.cross_attention = attention(), attention()
        self.feed_forward = FEED_FORWARDS[config.activation](config.dim, config.mlp_ratio)
        self.attention_residual, self.cross_attention_residual = residual(), residual()
        self.feed_forward_residual = residual()

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        self_kv: KeyValue,
        cross_kv: KeyValue,
        mask: Bool[Tensor, "*#B #L #S"] | None,
        rope: Rope | None = None,
    ) -> tuple[Float[Tensor, "B L D"], KeyValue]:
        """Transform new tokens, given those before them.

        Args:
            x: the new tokens.
            self_kv: keys and values of the tokens before them.
            cross_kv: keys and values of the image: `cross_attention.project_kv` of the encoder's output.
            mask: L S, or broadcastable to B H L S, with S all tokens so far; True where a token may attend. None allows
                every pair.
            rope: rotations of the new tokens.

        Returns:
            The transformed tokens, and `self_kv` extended by them.
        """
        normed = self.attention_residual.pre(x)
        self_kv = self_kv.extend(self.attention.project_kv(normed, rope))
        x = self.attention_residual.post(x, self.attention(normed, self_kv, mask, rope))
        x = self.cross_attention_residual.post(x, self.cross_attention(self.cross_attention_residual.pre(x), cross_kv))
        return self.feed_forward_residual.post(x, self.feed_forward(self.feed_forward_residual.pre(x))), self_kv


def final_norm(config: EncoderConfig) -> nn.Module:
    """Create the norm after the last block. Post-norm blocks need none: their output is normalized already."""
    return NORM_TYPES[config.norm_type](config.dim) if config.norm == "pre" else nn.Identity()


def init_weights(module: nn.Module) -> None:
    """Initialize a module's own weights; for `nn.Module.apply`.

    Matrices are Xavier-uniform and biases zero. The last matrix of each residual branch is zero, so that every branch
    starts as the identity (as in Fixup, Zhang, Dauphin & Ma 2019): training is faster that way.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        nn.init.zeros_(module.out_proj.weight)
    elif isinstance(module, (FeedForward, GatedFeedForward)):
        nn.init.zeros_(module.fc2.weight)
