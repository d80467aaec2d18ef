"""Where a token is: what is added to it, or by which angles its queries and keys are turned.

Shapes   L tokens   A axes: 1 for a text, 2 for an image   D model width   K width of a head's queries and keys
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

_SLOWEST = 10_000
"""Of sinusoids and rotations: the longest wave, over 2 pi tokens."""


class Turn(NamedTuple):
    """Rotations of pairs of coordinates, by position."""

    cosine: Tensor
    """L K/2."""
    sine: Tensor
    """L K/2."""

    def __call__(self, x: Tensor) -> Tensor:
        """Vectors, ... L K, with coordinate i and i + K/2 turned together."""
        first, second = x.chunk(2, -1)
        return torch.cat([first * self.cosine - second * self.sine, first * self.sine + second * self.cosine], -1)

    def slice(self, begin: int, end: int) -> Turn:
        """Those of some positions."""
        return Turn(self.cosine[begin:end], self.sine[begin:end])

    def after(self, others: int) -> Turn:
        """These, after so many positions that are not turned."""
        width = self.cosine.shape[1]
        return Turn(
            torch.cat([self.cosine.new_ones(others, width), self.cosine]),
            torch.cat([self.sine.new_zeros(others, width), self.sine]),
        )


class Position(nn.Module):
    """No position at all, and what the others change of that: tokens are a set."""

    token_deviation = 0.02
    """Standard deviation of the embeddings that it is added to, at the start."""

    def __init__(self, shape: tuple[int, ...], dim: int, dim_k: int) -> None:
        """For tokens on a line or a raster of this shape."""
        super().__init__()

    def forward(self, x: Tensor, begin: int = 0) -> Tensor:
        """Tokens with their positions added, the first at `begin`; B L D."""
        return x

    def turn(self) -> Turn | None:
        """The rotations of all positions' queries and keys."""
        return None


class Learned(Position):
    """A learned vector a position (Dosovitskiy et al. 2021)."""

    def __init__(self, shape: tuple[int, ...], dim: int, dim_k: int) -> None:
        super().__init__(shape, dim, dim_k)
        self.table = learned(math.prod(shape), dim)

    def forward(self, x: Tensor, begin: int = 0) -> Tensor:
        return x + self.table[begin : begin + x.shape[1]]


class Factorised(Position):
    """A learned vector a row plus a learned vector a column (Dehghani et al. 2023); on a line the same as `Learned`."""

    def __init__(self, shape: tuple[int, ...], dim: int, dim_k: int) -> None:
        super().__init__(shape, dim, dim_k)
        self.tables = nn.ParameterList(learned(extent, dim) for extent in shape)

    def forward(self, x: Tensor, begin: int = 0) -> Tensor:
        table = self.tables[0]
        for along in self.tables[1:]:
            table = (table[:, None] + along).flatten(0, 1)
        return x + table[begin : begin + x.shape[1]]


class Sinusoidal(Position):
    """Fixed sines and cosines, and tokens scaled by the root of their width (Vaswani et al. 2017, 3.4, 3.5).

    In an image each axis has half of the waves.
    """

    def __init__(self, shape: tuple[int, ...], dim: int, dim_k: int) -> None:
        super().__init__(shape, dim, dim_k)
        self.scale = math.sqrt(dim)
        self.token_deviation = 1 / self.scale
        angles = _angles(shape, dim // 2)
        self.table: Tensor
        self.register_buffer("table", torch.cat([angles.sin(), angles.cos()], -1), persistent=False)

    def forward(self, x: Tensor, begin: int = 0) -> Tensor:
        return x * self.scale + self.table[begin : begin + x.shape[1]]


class Rotary(Position):
    """Queries and keys turned by their position, so that they meet by distance (Su et al. 2021); a half an axis."""

    def __init__(self, shape: tuple[int, ...], dim: int, dim_k: int) -> None:
        super().__init__(shape, dim, dim_k)
        angles = _angles(shape, dim_k // 2)
        self.cosine: Tensor
        self.sine: Tensor
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def turn(self) -> Turn:
        return Turn(self.cosine, self.sine)


POSITIONS: dict[str, type[Position]] = {
    "none": Position,
    "learned": Learned,
    "factorised": Factorised,
    "sinusoidal": Sinusoidal,
    "rotary": Rotary,
}


def learned(*shape: int) -> nn.Parameter:
    """A learned table of vectors: positions or class tokens."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


def _angles(shape: tuple[int, ...], width: int) -> Tensor:
    """Angles of each position, in raster order: each axis has a share, waves from short to long; L width."""
    places = torch.cartesian_prod(*(torch.arange(extent) for extent in shape)).view(-1, len(shape))
    waves = width // len(shape)
    speeds = _SLOWEST ** (-torch.arange(waves) / waves)
    return (places[..., None] * speeds).flatten(1)
