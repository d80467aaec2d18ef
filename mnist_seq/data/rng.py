"""Counter-based random numbers: the same integers for the same (key, id, slot), on every device and in every batch.

SplitMix64 (Steele, Lea & Flood 2014), evaluated by tensor operations in wrapping 64-bit arithmetic. A scene's id seeds
a stream of its own within the stream of (seed, split, purpose), so nothing depends on what was drawn before.
"""

from __future__ import annotations

from zlib import crc32

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def key(seed: int, *purpose: str) -> int:
    """Fold a seed and the names of a purpose into the 64-bit key of a stream."""
    state = _mix_integer(seed & _MASK)
    for name in purpose:
        state = _mix_integer((state + crc32(name.encode()) * _GOLDEN) & _MASK)
    return state


def bits(stream: int, ids: Tensor, slots: int) -> Tensor:
    """32 random bits for every id and slot.

    Args:
        stream: what `key` returned.
        ids: B, int64.

    Returns:
        B slots, int64 in [0, 2**32).
    """
    seeds = _mix(ids * _signed(_GOLDEN) + _signed(stream))
    steps = torch.arange(1, slots + 1, device=ids.device) * _signed(_GOLDEN)
    return _shift(_mix(seeds[:, None] + steps), 32)


def integers(stream: int, ids: Tensor, slots: int, below: int) -> Tensor:
    """Uniform integers in [0, below), `below` at most 2**31; B slots, int64. The bias is under below / 2**32."""
    return (bits(stream, ids, slots) * below) >> 32


def uniform(stream: int, ids: Tensor, slots: int) -> Tensor:
    """Uniform float32 in [0, 1), multiples of 2**-24 and so exact everywhere; B slots."""
    return (bits(stream, ids, slots) >> 8).to(torch.float32) / 2**24


def _mix(z: Tensor) -> Tensor:
    for shift, factor in _MIX:
        z = (z ^ _shift(z, shift)) * _signed(factor)
    return z ^ _shift(z, _LAST_SHIFT)


def _mix_integer(z: int) -> int:
    for shift, factor in _MIX:
        z = ((z ^ (z >> shift)) * factor) & _MASK
    return z ^ (z >> _LAST_SHIFT)


def _shift(z: Tensor, places: int) -> Tensor:
    """Logical right shift; torch's own repeats the sign."""
    return (z >> places) & ((1 << (64 - places)) - 1)


def _signed(z: int) -> int:
    return z - 2**64 if z >= 2**63 else z
