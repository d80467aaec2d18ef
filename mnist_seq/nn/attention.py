"""Multi-head attention, and the keys and values that it caches.

Shapes: B batch, L queries, S keys, H heads, K width of a head's queries and keys, V width of its values, D model width.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mnist_seq.nn.positions import Rope

_MAX_STORED_WEIGHTS = 50**2
"""Pairs of a query and a key up to which a CPU trains faster with the formula of attention than with torch's kernel."""


class KeyValue(NamedTuple):
    """Keys and values. It is passed in and returned; no module stores it."""

    keys: Float[Tensor, "B H S K"]
    values: Float[Tensor, "B H S V"]

    def map(self, fn: Callable[[Tensor], Tensor]) -> KeyValue:
        """Apply a function to both."""
        return KeyValue(fn(self.keys), fn(self.values))

    def extend(self, new: KeyValue) -> KeyValue:
        """Append the keys and values of later tokens."""
        return KeyValue(torch.cat([self.keys, new.keys], 2), torch.cat([self.values, new.values], 2))


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, 3.2).

    Args:
        dim: model width, divisible by `num_heads`; the values of each head have width dim / num_heads.
        head_dim: width of the queries and keys of each head.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.value_dim = num_heads, head_dim, dim // num_heads
        self.q_proj = nn.Linear(dim, num_heads * head_dim)
        self.kv_proj = nn.Linear(dim, num_heads * (head_dim + self.value_dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        kv: KeyValue,
        mask: Bool[Tensor, "*#B #L #S"] | None = None,
        rope: Rope | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Attend from each token to the keys and values.

        Args:
            x: the tokens that the queries are computed from.
            mask: L S, or broadcastable to B H L S; True where a query may attend, to one key at least. None allows all.
            rope: rotations of the queries.
        """
        out = attend(self.project_q(x, rope), kv, mask)
        return self.out_proj(out.transpose(1, 2).flatten(-2))

    def project_q(self, x: Float[Tensor, "B L D"], rope: Rope | None = None) -> Float[Tensor, "B H L K"]:
        """Compute the queries of tokens, rotated by `rope`."""
        queries = self._split_heads(self.q_proj(x))
        return rope(queries) if rope else queries

    def project_kv(self, x: Float[Tensor, "B S D"], rope: Rope | None = None) -> KeyValue:
        """Compute the keys, rotated by `rope`, and the values of tokens."""
        widths = [self.num_heads * self.head_dim, self.num_heads * self.value_dim]
        keys, values = (self._split_heads(part) for part in self.kv_proj(x).split(widths, -1))
        return KeyValue(rope(keys) if rope else keys, values)

    def _split_heads(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L K"]:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def attend(
    queries: Float[Tensor, "B H L K"], kv: KeyValue, mask: Bool[Tensor, "*#B #L #S"] | None = None
) -> Float[Tensor, "B H L V"]:
    """Scaled dot-product attention (Vaswani et al. 2017, 3.2.1).

    A CPU computes it in float32 under autocast too, and trains on short sequences with the formula itself, because the
    backward pass of torch's fused kernel takes longer there.

    Args:
        mask: L S, or broadcastable to B H L S; True where a query may attend, to one key at least. None allows all.
    """
    if queries.device.type != "cpu":
        return F.scaled_dot_product_attention(queries, *kv, attn_mask=mask)
    dtype = kv.values.dtype  # rotated queries and keys are in float32 under autocast
    full = torch.promote_types(dtype, torch.float32)
    queries, kv = queries.to(full), kv.map(lambda part: part.to(full))
    with torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext():
        if torch.is_grad_enabled() and queries.shape[2] * kv.keys.shape[2] <= _MAX_STORED_WEIGHTS:
            return (attention_weights(queries, kv.keys, mask) @ kv.values).to(dtype)
        return F.scaled_dot_product_attention(queries, *kv, attn_mask=mask).to(dtype)


def attention_weights(
    queries: Float[Tensor, "B H L K"], keys: Float[Tensor, "B H S K"], mask: Bool[Tensor, "*#B #L #S"] | None = None
) -> Float[Tensor, "B H L S"]:
    """Compute the weight of each key for each query, softmax(queries keysᵀ / √K): each row over S sums to 1.

    Args:
        mask: L S, or broadcastable to B H L S; True where a query may attend, to one key at least. None allows all.
    """
    scores = queries / queries.shape[-1] ** 0.5 @ keys.mT
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
