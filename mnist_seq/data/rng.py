"""Counter-based random numbers: the same integers for the same (key, id, slot), on every device and in every batch.

SplitMix64 (Steele, Lea & Flood 2014), evaluated by tensor operations in wrapping 64-bit arithmetic. A scene's id seeds
a stream of its own within the stream of (seed, split, purpose), so nothing depends on what was drawn before.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def key(seed: int, *purpose: str) -> int:
    """Fold a seed and the names of a purpose into the 64-bit key of a stream."""
    state = _mix_int(seed & _MASK)
    for name in purpose:
        state = _mix_int((state + crc32(name.encode()) * _GOLDEN) & _MASK)
    return state


def bits(stream_key: int, ids: Tensor, slots: int) -> Tensor:
    """32 random bits for every id and slot.

    Args:
        stream: what `key` returned.
        ids: B, int64.

    Returns:
        B slots, int64 in [0, 2**32).
    """
    seeds = _mix(ids * _signed(_GOLDEN) + _signed(stream_key))
    steps = torch.arange(1, slots + 1, device=ids.device) * _signed(_GOLDEN)
    return _logical_shift(_mix(seeds[:, None] + steps), 32)


def integers(stream_key: int, ids: Tensor, slots: int, high: int | Tensor) -> Tensor:
    """Uniform integers in [0, below), B slots, int64; the bias is under below / 2**32.

    Args:
        below: at most 2**31; one for all, or any that broadcast to B slots.
    """
    return (bits(stream_key, ids, slots) * high) >> 32


def uniform(stream_key: int, ids: Tensor, slots: int) -> Tensor:
    """Uniform float32 in [0, 1), multiples of 2**-24 and so exact everywhere; B slots."""
    return (bits(stream_key, ids, slots) >> 8).to(torch.float32) / 2**24


@dataclass(frozen=True)
class DigitRng:
    """Random numbers of each digit of each scene: M = B * slots rows, a stream for every purpose."""

    seed: int
    split: str
    ids: Tensor
    """B, int64."""
    slots: int
    """Digits a scene."""
    stream: tuple[str, ...] = ()
    """Names of other digits of the same scenes than those that are read."""

    def uniform(self, purpose: str, n: int) -> Tensor:
        """Uniform in [0, 1); M many."""
        return uniform(self._key(purpose), self.ids, self.slots * n).view(-1, n)

    def bytes(self, purpose: str, n: int) -> Tensor:
        """Uniform integers in 0..255, four from each 32 bits; M many, int64."""
        drawn = bits(self._key(purpose), self.ids, self.slots * -(-n // 4)).view(len(self.ids) * self.slots, -1)
        return torch.cat([(drawn >> place) & 255 for place in (0, 8, 16, 24)], 1)[:, :n]

    def _key(self, purpose: str) -> int:
        return key(self.seed, self.split, *self.stream, purpose)


def _mix(z: Tensor) -> Tensor:
    for shift, factor in _MIX:
        z = (z ^ _logical_shift(z, shift)) * _signed(factor)
    return z ^ _logical_shift(z, _LAST_SHIFT)


def _mix_int(z: int) -> int:
    for shift, factor in _MIX:
        z = ((z ^ (z >> shift)) * factor) & _MASK
    return z ^ (z >> _LAST_SHIFT)


def _logical_shift(z: Tensor, places: int) -> Tensor:
    """Logical right shift; torch's own repeats the sign."""
    return (z >> places) & ((1 << (64 - places)) - 1)


def _signed(z: int) -> int:
    return z - 2**64 if z >= 2**63 else z
