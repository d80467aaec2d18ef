"""Multi-digit MNIST: the digits of a random number side by side, each frame overlapping the one before it.

This follows the generator of github.com/kingyiusuen/handwritten-multi-digit-number-recognition. The model of that
project, a CRNN with CTC trained on 20,000 fixed scenes, reads 98.65 % of 2,000 test scenes.

Shapes   B scenes   N slots for digits, `max_digits`
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import MultidigitConfig
from mnist_seq.data import rng
from mnist_seq.data.digits import Pool
from mnist_seq.data.layout_types import Layout

_TOP = 2
"""Distance of the digits from the upper edge, pixels."""


def multidigit_mnist(ids: Int[Tensor, "B"], config: MultidigitConfig, pool: Pool, seed: int) -> Layout:
    """A number of n digits, n from 1 to N with probability proportional to n, without a leading zero.

    Each digit is uniform over its class. All frames of a scene overlap by the same number of whole pixels: u, uniform
    in [0, max_overlap), times the digit size, rounded down. The number is preceded by 0 to N - n empty frames, uniform,
    which overlap likewise. Where frames overlap, each pixel is the larger of the two.
    """

    def integers(purpose: str, slots: int, high: int | Tensor) -> Tensor:
        return rng.integers(rng.key(seed, pool.split, "number", purpose), ids, slots, high)

    slots = config.max_digits
    lengths = torch.arange(1, slots + 1, device=ids.device)
    lengths = lengths.repeat_interleave(lengths)
    counts = lengths[integers("length", 1, len(lengths))]
    slot = torch.arange(slots, device=ids.device)
    is_first = (slot == 0).long()
    classes = is_first + integers("class", slots, 10 - is_first)
    starts = pool.class_sizes.cumsum(0) - pool.class_sizes
    position = starts[classes] + integers("digit", slots, pool.class_sizes[classes])
    overlap = rng.uniform(rng.key(seed, pool.split, "number", "overlap"), ids, 1) * config.max_overlap
    advance = pool.digit_size - (overlap * pool.digit_size).long()
    x = (integers("padding", 1, slots - counts + 1) + slot) * advance
    present = slot < counts
    corners = torch.stack([x, torch.full_like(x, _TOP)], -1) * present[..., None]
    return Layout(pool.by_class[position.clamp(max=len(pool) - 1)], corners, present, take_maximum=True)
