"""Where a token is: what is added to it, or by which angles its queries and keys are turned.

Shapes   L tokens   A axes: 1 for a text, 2 for an image   D model width   K width of a head's queries and keys
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_FREQUENCY_BASE = 10_000
"""Of sinusoids and rotations: the longest wave, over 2 pi tokens."""


class Rope(NamedTuple):
    """Rotations of pairs of coordinates, by position."""

    cos: Tensor
    """L K/2."""
    sin: Tensor
    """L K/2."""

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors, ... L K, with coordinate i and i + K/2 turned together."""
        first, second = x.chunk(2, -1)
        return torch.cat([first * self.cos - second * self.sin, first * self.sin + second * self.cos], -1)

    def slice(self, begin: int, end: int) -> Rope:
        """Those of some positions."""
        return Rope(self.cos[begin:end], self.sin[begin:end])

    def with_prefix(self, num_prefix_tokens: int) -> Rope:
        """These, after so many positions that are not turned."""
        width = self.cos.shape[1]
        return Rope(
            torch.cat([self.cos.new_ones(num_prefix_tokens, width), self.cos]),
            torch.cat([self.sin.new_zeros(num_prefix_tokens, width), self.sin]),
        )


class PositionEmbedding(nn.Module):
    """No position at all, and what the others change of that: tokens are a set."""

    token_init_std = 0.02
    """Standard deviation of the embeddings that it is added to, at the start."""

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        """For tokens on a line or a raster of this shape."""
        super().__init__()

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        """Tokens with their positions added, the first at `begin`; B L D."""
        return x

    def rope(self) -> Rope | None:
        """The rotations of all positions' queries and keys."""
        return None


class LearnedEmbedding(PositionEmbedding):
    """A learned vector a position (Dosovitskiy et al. 2021)."""

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        self.table = embedding_parameter(math.prod(shape), dim)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        return x + self.table[offset : offset + x.shape[1]]


class FactorizedEmbedding(PositionEmbedding):
    """A learned vector a row plus a learned vector a column (Dehghani et al. 2023); on a line the same as `Learned`."""

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        self.tables = nn.ParameterList(embedding_parameter(extent, dim) for extent in shape)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        table = self.tables[0]
        for along in self.tables[1:]:
            table = (table[:, None] + along).flatten(0, 1)
        return x + table[offset : offset + x.shape[1]]


class SinusoidalEmbedding(PositionEmbedding):
    """Fixed sines and cosines, and tokens scaled by the root of their width (Vaswani et al. 2017, 3.4, 3.5).

    In an image each axis has half of the waves.
    """

    def __init__(self, shape: tuple[int, ...], dim: int, head_dim: int) -> None:
        super().__init__(shape, dim, head_dim)
        self.scale = math.sqrt(dim)
        self.token_init_std = 1 / self.scale
        angles = _angles(shape, dim // 2)
        self.table: Tensor
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], -1), persistent=False)

    def forward(self, x: Tensor, offset: int = 0) -> Tensor:
        return x * self.scale + self.table[offset : offset + x.shape[1]]


class RotaryEmbedding(PositionEmbedding):
    """Queries and keys turned by their position, so that they meet by distance (Su et al. 2021); a half an axis."""

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
    """A learned table of vectors: positions or class tokens."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


def _angles(shape: tuple[int, ...], width: int) -> Tensor:
    """Angles of each position, in raster order: each axis has a share, waves from short to long; L width."""
    places = torch.cartesian_prod(*(torch.arange(extent) for extent in shape)).view(-1, len(shape))
    waves = width // len(shape)
    speeds = _FREQUENCY_BASE ** (-torch.arange(waves) / waves)
    return (places[..., None] * speeds).flatten(1)
