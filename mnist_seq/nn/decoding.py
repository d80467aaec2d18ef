"""From logits to readings.

Shapes   B batch   N longest sequence   C cells   V vocabulary
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.tokens import BOS, DIGITS, EMPTY, EOS, PAD


class Readout(NamedTuple):
    """What a model read."""

    digits: Tensor
    """B N, int64, PAD after the last."""
    probability: Tensor
    """B N, of each digit given those before it; 1 after the last."""
    confidence: Tensor
    """B, of the whole reading, its end included."""
    ended: Tensor
    """B, bool: the reading came to its end within the longest sequence."""
    cells: Tensor | None = None
    """B C, int64, digits or EMPTY, where the model reads by cells."""


class Writer(Protocol):
    """What decoding needs of a model."""

    spec: Spec

    def start(self, images: Tensor) -> Any: ...

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]: ...


@torch.no_grad()
def greedy(model: Writer, images: Tensor) -> Readout:
    """Write the likeliest token again and again, a fixed number of steps; PAD and BOS are never written.

    Args:
        images: B 1 H W.
    """
    cache = model.start(images)
    token = torch.full((len(images), 1), BOS, device=images.device)
    ended = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    written, certain = [], []
    for _ in range(model.spec.max_digits + 1):
        logits, cache = model.step(token, cache)
        log_probs = _allowed(logits[:, -1]).log_softmax(-1)
        likeliest, choice = log_probs.max(-1)
        written.append(choice.masked_fill(ended, PAD))
        certain.append(likeliest.masked_fill(ended, 0))
        ended = ended | (choice == EOS)
        token = choice[:, None]
    digits, log_probability = torch.stack(written[:-1], 1), torch.stack(certain, 1)
    beyond = digits >= DIGITS
    return Readout(
        digits=digits.masked_fill(beyond, PAD),
        probability=log_probability[:, :-1].masked_fill(beyond, 0).exp(),
        confidence=log_probability.sum(1).exp(),
        ended=ended,
    )


def by_cells(logits: Tensor) -> Readout:
    """The non-empty cells in raster order.

    Args:
        logits: B C 11.
    """
    certain, cells = logits.float().softmax(-1).max(-1)
    empty = cells == EMPTY
    order = empty.long().argsort(dim=1, stable=True)
    beyond = empty.gather(1, order)
    return Readout(
        digits=cells.gather(1, order).masked_fill(beyond, PAD),
        probability=certain.gather(1, order).masked_fill(beyond, 1),
        confidence=certain.prod(1),
        ended=torch.ones_like(empty[:, 0]),
        cells=cells,
    )


def _allowed(logits: Tensor) -> Tensor:
    forbidden = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    forbidden[PAD] = forbidden[BOS] = True
    return logits.float().masked_fill(forbidden, -torch.inf)
