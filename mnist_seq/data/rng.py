"""Counter-based random numbers: each value is a function of (key, id, slot) and of nothing else.

The numbers do not depend on the device, on the batch or on earlier draws, so scene i is the same wherever and whenever
it is rendered. SplitMix64 (Steele, Lea & Flood 2014) by tensor operations in wrapping 64-bit arithmetic: the id of a
scene seeds its own stream within the stream of (seed, split, purpose).

Shapes   B scenes   M digits
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31


def key(seed: int, *purpose: str) -> int:
    """Hash a seed and the names of a purpose into the 64-bit key of a stream.

    The names are part of every scene: rename one, and all scenes that use it change.
    """
    state = _mix_int(seed & _MASK)
    for name in purpose:
        state = _mix_int((state + crc32(name.encode()) * _GOLDEN) & _MASK)
    return state


def bits(
    stream_key: int, ids: Int[Tensor, "B"], slots: int, first: Int[Tensor, "B"] | None = None
) -> Int[Tensor, "B {slots}"]:
    """Draw 32 random bits for every id and slot.

    Args:
        stream_key: the return value of `key`.
        ids: int64.
        first: first slot of each id; None means 0.

    Returns:
        int64 in [0, 2**32).
    """
    seeds = _mix(ids * _signed(_GOLDEN) + _signed(stream_key))
    if first is not None:
        seeds = seeds + first * _signed(_GOLDEN)
    steps = torch.arange(1, slots + 1, device=ids.device) * _signed(_GOLDEN)
    return _logical_shift(_mix(seeds[:, None] + steps), 32)


def integers(
    stream_key: int, ids: Int[Tensor, "B"], slots: int, high: int | Int[Tensor, "..."]
) -> Int[Tensor, "B {slots}"]:
    """Draw uniform int64 integers in [0, high); the bias is below high / 2**32.

    Args:
        high: at most 2**31; one bound for all, or a tensor that broadcasts to (B, slots).
    """
    return (bits(stream_key, ids, slots) * high) >> 32


def uniform(stream_key: int, ids: Int[Tensor, "B"], slots: int) -> Float[Tensor, "B {slots}"]:
    """Draw uniform float32 numbers in [0, 1): multiples of 2**-24, so exact on every device."""
    return _to_uniform(bits(stream_key, ids, slots))


@dataclass(frozen=True)
class DigitRng:
    """Random numbers for digits, one stream per purpose; a digit's do not depend on which other digits are drawn."""

    seed: int
    split: str
    ids: Int[Tensor, "M"]
    """Id of each digit's scene, int64."""
    slots: Int[Tensor, "M"] | None = None
    """Slot of each digit in its scene; None means slot 0 for all, in scenes of one slot."""
    stream: tuple[str, ...] = ()
    """Extra names in the key, for things other than the scene's own digits (distractors)."""

    def uniform(self, purpose: str, n: int, shared: float = 0.0) -> Float[Tensor, "M {n}"]:
        """Draw n numbers in [0, 1) per digit.

        Args:
            shared: weight, 0..1, of numbers that all digits of a scene have in common; the rest is each digit's own.
                Between 0 and 1 the numbers are not uniform, but closer to a half.
        """
        own = _to_uniform(self._bits(purpose, n))
        if not shared:
            return own
        common = uniform(key(self.seed, self.split, purpose, "shared"), self.ids, n)
        return own + shared * (common - own)

    def integers(self, purpose: str, n: int, high: int) -> Int[Tensor, "M {n}"]:
        """Draw n uniform int64 integers in [0, high) per digit."""
        return (self._bits(purpose, n) * high) >> 32

    def bytes(self, purpose: str, n: int) -> Int[Tensor, "M {n}"]:
        """Draw n uniform integers in 0..255 per digit, int64; 32 random bits give four of them."""
        words = self._bits(purpose, -(-n // 4))
        return torch.cat([(words >> shift) & 255 for shift in (0, 8, 16, 24)], 1)[:, :n]

    def _bits(self, purpose: str, n: int) -> Tensor:
        stream_key = key(self.seed, self.split, *self.stream, purpose)
        return bits(stream_key, self.ids, n, None if self.slots is None else self.slots * n)


def _to_uniform(random_bits: Tensor) -> Tensor:
    return (random_bits >> 8).to(torch.float32) / 2**24


def _mix(z: Tensor) -> Tensor:
    for shift, factor in _MIX:
        z = (z ^ _logical_shift(z, shift)) * _signed(factor)
    return z ^ _logical_shift(z, _LAST_SHIFT)


def _mix_int(z: int) -> int:
    for shift, factor in _MIX:
        z = ((z ^ (z >> shift)) * factor) & _MASK
    return z ^ (z >> _LAST_SHIFT)


def _logical_shift(z: Tensor, shift: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign bit."""
    return (z >> shift) & ((1 << (64 - shift)) - 1)


def _signed(z: int) -> int:
    return z - 2**64 if z >= 2**63 else z
