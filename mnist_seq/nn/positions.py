"""Position embeddings: vectors that are added to tokens, or rotations of their queries and keys.

Shapes: B batch, L tokens, D model width, K width of a head's queries and keys, P half of that.
An axis is a dimension of the token grid: text has one, an image two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

_FREQUENCY_BASE = 10_000
"""Of sinusoids and rotations: the longest wavelength, in tokens over 2 pi."""


class Rope(NamedTuple):
    """Rotations of pairs of coordinates by position (Su et al. 2021)."""

    cos: Float[Tensor, "L P"]
    sin: Float[Tensor, "L P"]

    def __call__(self, x: Float[Tensor, "*batch L K"]) -> Float[Tensor, "*batch L K"]:
        """Rotate each pair of coordinates i and i + K/2 of queries or keys."""
        first, second = x.chunk(2, -1)
        return torch.cat([first * self.cos - second * self.sin, first * self.sin + second * self.cos], -1)

    def slice(self, start: int, end: int) -> Rope:
        """Return the rotations of positions `start` to `end`, exclusive."""
        return Rope(self.cos[start:end], self.sin[start:end])

    def with_prefix(self, num_prefix_tokens: int) -> Rope:
        """Prepend identity rotations, for tokens without a position."""
        pairs = self.cos.shape[1]
        return Rope(
            torch.cat([self.cos.new_ones(num_prefix_tokens, pairs), self.cos]),
            torch.cat([self.sin.new_zeros(num_prefix_tokens, pairs), self.sin]),
        )


class PositionEmbedding(nn.Module):
    """No position embedding: tokens are a set. Base class of the others.

    Args:
        shape: extent of each axis of the token grid; tokens are in raster order.
        dim: model width.
        head_dim: width of a head's queries and keys.
    """

    token_init_std = 0.02
    """Standard deviation with which the token embeddings are initialized."""

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "B L D"], offset: int = 0) -> Float[Tensor, "B L D"]:
        """Add to each token its position, the first at `offset`."""
        return x

    def rope(self) -> Rope | None:
        """Return the rotations of all positions, or None where queries and keys are not rotated."""
        return None


class LearnedEmbedding(PositionEmbedding):
    """A learned vector per position (Dosovitskiy et al. 2021)."""

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        self.table = embedding_parameter(math.prod(shape), dim)

    def forward(self, x: Float[Tensor, "B L D"], offset: int = 0) -> Float[Tensor, "B L D"]:
        return x + self.table[offset : offset + x.shape[1]]


class FactorizedEmbedding(PositionEmbedding):
    """A learned vector per row plus one per column (Dehghani et al. 2023); with one axis a `LearnedEmbedding`."""

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        self.tables = nn.ParameterList(embedding_parameter(extent, dim) for extent in shape)

    def forward(self, x: Float[Tensor, "B L D"], offset: int = 0) -> Float[Tensor, "B L D"]:
        table = self.tables[0]
        for axis_table in self.tables[1:]:
            table = (table[:, None] + axis_table).flatten(0, 1)
        return x + table[offset : offset + x.shape[1]]


class SinusoidalEmbedding(PositionEmbedding):
    """Fixed sines and cosines, with tokens scaled by sqrt(D) (Vaswani et al. 2017, 3.4, 3.5).

    In an image, each axis gets half of the frequencies.
    """

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        self.scale = math.sqrt(dim)
        self.token_init_std = 1 / self.scale
        angles = _angles(shape, dim // 2)
        self.table: Tensor
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], -1), persistent=False)

    def forward(self, x: Float[Tensor, "B L D"], offset: int = 0) -> Float[Tensor, "B L D"]:
        return x * self.scale + self.table[offset : offset + x.shape[1]]


class RotaryEmbedding(PositionEmbedding):
    """Rotations of queries and keys, whose products then depend on relative positions alone (Su et al. 2021).

    In an image, each axis gets half of the frequencies.
    """

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        angles = _angles(shape, head_dim // 2)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rope(self) -> Rope:
        return Rope(self.cos, self.sin)


POS_EMBEDS: dict[str, type[PositionEmbedding]] = {
    "none": PositionEmbedding,
    "learned": LearnedEmbedding,
    "factorised": FactorizedEmbedding,
    "sinusoidal": SinusoidalEmbedding,
    "rotary": RotaryEmbedding,
}


def embedding_parameter(*shape: int) -> nn.Parameter:
    """Create a learned table of vectors, for positions or class tokens."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


def _angles(shape: tuple[int, ...], num_angles: int) -> Float[Tensor, "L num_angles"]:
    """Compute the angles of each position, radians, in raster order; the axes share them equally, fast to slow."""
    coordinates = torch.cartesian_prod(*(torch.arange(extent) for extent in shape)).view(-1, len(shape))
    num_frequencies = num_angles // len(shape)
    frequencies = _FREQUENCY_BASE ** (-torch.arange(num_frequencies) / num_frequencies)
    return (coordinates[..., None] * frequencies).flatten(1)
