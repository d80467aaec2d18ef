"""Attention, and the keys and values it remembers.

Shapes   B batch   L queries   S keys   H heads   D model width
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyValue(NamedTuple):
    """What attention looks at; a value that goes in and comes out, never the state of a module."""

    keys: Tensor
    """B H S D/H."""
    values: Tensor
    """B H S D/H."""

    def extend(self, new: KeyValue) -> KeyValue:
        """These, and the new ones after them."""
        return KeyValue(torch.cat([self.keys, new.keys], 2), torch.cat([self.values, new.values], 2))


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2) of queries over a memory."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads  # divides dim: a law of the config
        self.to_query, self.to_memory = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.merge = nn.Linear(dim, dim)

    def memory(self, x: Tensor) -> KeyValue:
        """Keys and values of tokens; B S D."""
        keys, values = self.to_memory(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return KeyValue(keys, values)  # B H S D/H each

    def forward(self, x: Tensor, memory: KeyValue, mask: Tensor | None = None) -> Tensor:
        """What each query finds; B L D.

        Args:
            x: B L D.
            mask: L S, True where a query may attend; None for everywhere.
        """
        queries = self.to_query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B H L D/H
        found = F.scaled_dot_product_attention(queries, memory.keys, memory.values, attn_mask=mask)
        return self.merge(found.transpose(1, 2).flatten(-2))  # B L D
