"""Which digits a scene shows, and how many, as pure functions of its id.

Shapes   B scenes
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.data import rng
from mnist_seq.data.digits import Pool


def sample_counts(ids: Int[Tensor, "B"], low: int, high: int, pool: Pool, seed: int) -> Int[Tensor, "B"]:
    """Draw the number of digits of each scene, uniform in low..high."""
    return low + rng.integers(rng.key(seed, pool.split, "count"), ids, 1, high - low + 1)[:, 0]


def sample_digits(ids: Int[Tensor, "B"], slots: int, pool: Pool, seed: int) -> Int[Tensor, "B {slots}"]:
    """Draw indices into the pool, uniform."""
    return rng.integers(rng.key(seed, pool.split, "digit"), ids, slots, len(pool))


def sample_distinct_digits(ids: Int[Tensor, "B"], slots: int, pool: Pool, seed: int) -> Int[Tensor, "B {slots}"]:
    """Draw indices into the pool, each uniform over the digits of classes that the scene does not show yet."""
    class_sizes = pool.class_sizes
    class_starts = class_sizes.cumsum(0) - class_sizes
    random_bits = rng.bits(rng.key(seed, pool.split, "digit"), ids, slots)
    indices, classes = [], torch.empty(len(ids), 0, dtype=torch.int64, device=ids.device)
    for slot in range(slots):
        used = classes.sort(1).values
        position = (random_bits[:, slot] * (len(pool) - class_sizes[used].sum(1))) >> 32
        for used_class in used.unbind(1):  # ascending: step over each class that is used up
            position = position + torch.where(position >= class_starts[used_class], class_sizes[used_class], 0)
        indices.append(pool.by_class[position])
        classes = torch.cat([classes, pool.labels[indices[-1]][:, None]], 1)
    return torch.stack(indices, 1)
