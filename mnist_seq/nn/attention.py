"""Attention, and the keys and values it remembers.

Shapes   B batch   L queries   S keys   H heads   K width of a head's keys   V of its values   D of the model
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.nn.positions import Turn


class KeyValue(NamedTuple):
    """What attention looks at; a value that goes in and comes out, never the state of a module."""

    keys: Tensor
    """B H S K."""
    values: Tensor
    """B H S V."""

    def map(self, change: Callable[[Tensor], Tensor]) -> KeyValue:
        """Both, changed alike."""
        return KeyValue(change(self.keys), change(self.values))

    def extend(self, new: KeyValue) -> KeyValue:
        """These, and the new ones after them."""
        return KeyValue(torch.cat([self.keys, new.keys], 2), torch.cat([self.values, new.values], 2))


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2) of queries over a memory."""

    def __init__(self, dim: int, heads: int, dim_k: int) -> None:
        super().__init__()
        self.heads, self.widths = heads, (dim_k, dim // heads)  # heads divide dim: a law of the config
        self.to_query, self.to_memory = nn.Linear(dim, heads * dim_k), nn.Linear(dim, heads * sum(self.widths))
        self.merge = nn.Linear(dim, dim)

    def memory(self, x: Tensor, turn: Turn | None = None) -> KeyValue:
        """Keys, turned, and values of tokens; B S D."""
        both = self.to_memory(x).split([self.heads * width for width in self.widths], -1)
        keys, values = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in both)
        return KeyValue(turn(keys) if turn else keys, values)

    def forward(self, x: Tensor, memory: KeyValue, mask: Tensor | None = None, turn: Turn | None = None) -> Tensor:
        """What each query finds; B L D.

        Args:
            x: B L D.
            mask: L S or broadcastable to B H L S, True where a query may attend; None for everywhere.
            turn: of the queries.
        """
        found = attend(self.queries(x, turn), memory, mask)
        return self.merge(found.transpose(1, 2).flatten(-2))  # B L D

    def queries(self, x: Tensor, turn: Turn | None = None) -> Tensor:
        """What each token looks for; B H L K."""
        queries = self.to_query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return turn(queries) if turn else queries

    def weights(self, x: Tensor, memory: KeyValue, mask: Tensor | None = None, turn: Turn | None = None) -> Tensor:
        """How much each query takes of each value, B H L S: `forward` never holds them, so this is for looking at."""
        scores = self.queries(x, turn) @ memory.keys.mT / self.widths[0] ** 0.5
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)


def attend(queries: Tensor, memory: KeyValue, mask: Tensor | None = None) -> Tensor:
    """The mean of the values, weighted by how well keys fit queries (Vaswani et al. 2017, 3.2.1); B H L V.

    Of bfloat16 on a CPU in float32: torch's kernel takes several times as long to go back in bfloat16.
    """
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(queries, *memory, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        exact = memory.map(Tensor.float)
        return F.scaled_dot_product_attention(queries.float(), *exact, attn_mask=mask).to(queries.dtype)
