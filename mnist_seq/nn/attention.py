"""Attention, and the keys and values it remembers.

Shapes   B batch   L queries   S keys   H heads   K width of a head's keys   V of its values   D of the model
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.nn.positions import Rope


class KeyValue(NamedTuple):
    """What attention looks at; a value that goes in and comes out, never the state of a module."""

    keys: Tensor
    """B H S K."""
    values: Tensor
    """B H S V."""

    def map(self, fn: Callable[[Tensor], Tensor]) -> KeyValue:
        """Both, changed alike."""
        return KeyValue(fn(self.keys), fn(self.values))

    def extend(self, new: KeyValue) -> KeyValue:
        """These, and the new ones after them."""
        return KeyValue(torch.cat([self.keys, new.keys], 2), torch.cat([self.values, new.values], 2))


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2) of queries over a memory."""

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dims = (
            num_heads,
            (head_dim, dim // num_heads),
        )  # heads divide dim: a law of the config
        self.q_proj, self.kv_proj = (
            nn.Linear(dim, num_heads * head_dim),
            nn.Linear(dim, num_heads * sum(self.head_dims)),
        )
        self.out_proj = nn.Linear(dim, dim)

    def project_kv(self, x: Tensor, rope: Rope | None = None) -> KeyValue:
        """Keys, turned, and values of tokens; B S D."""
        both = self.kv_proj(x).split([self.num_heads * width for width in self.head_dims], -1)
        keys, values = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in both)
        return KeyValue(rope(keys) if rope else keys, values)

    def forward(self, x: Tensor, kv: KeyValue, mask: Tensor | None = None, rope: Rope | None = None) -> Tensor:
        """What each query finds; B L D.

        Args:
            x: B L D.
            mask: L S or broadcastable to B H L S, True where a query may attend; None for everywhere.
            turn: of the queries.
        """
        found = attend(self.project_q(x, rope), kv, mask)
        return self.out_proj(found.transpose(1, 2).flatten(-2))  # B L D

    def project_q(self, x: Tensor, rope: Rope | None = None) -> Tensor:
        """What each token looks for; B H L K."""
        queries = self.q_proj(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        return rope(queries) if rope else queries

    def attention_weights(
        self, x: Tensor, kv: KeyValue, mask: Tensor | None = None, rope: Rope | None = None
    ) -> Tensor:
        """How much each query takes of each value, B H L S: `forward` never holds them, so this is for looking at."""
        scores = self.project_q(x, rope) @ kv.keys.mT / self.head_dims[0] ** 0.5
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)


def attend(queries: Tensor, kv: KeyValue, mask: Tensor | None = None) -> Tensor:
    """The mean of the values, weighted by how well keys fit queries (Vaswani et al. 2017, 3.2.1); B H L V.

    Of bfloat16 on a CPU in float32: torch's kernel takes several times as long to go back in bfloat16.
    """
    if queries.device.type != "cpu" or queries.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(queries, *kv, attn_mask=mask)
    with torch.autocast("cpu", enabled=False):
        exact = kv.map(Tensor.float)
        return F.scaled_dot_product_attention(queries.float(), *exact, attn_mask=mask).to(queries.dtype)
