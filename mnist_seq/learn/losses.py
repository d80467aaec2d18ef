"""What a model is taught by: one function an architecture, from a model and scenes to a loss.

Shapes   B batch   T targets a scene   V classes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.data.scenes import Scenes
from mnist_seq.tokens import PAD


class Taught(NamedTuple):
    """How a batch went, as sums."""

    loss: Tensor
    """Mean cross-entropy a target, nats."""
    right: Tensor
    """Targets that were the likeliest class, given the true ones before them."""
    total: Tensor
    """Targets."""


Loss = Callable[[nn.Module, Scenes, float], Taught]


def sequence(model: nn.Module, scenes: Scenes, smoothing: float = 0.0) -> Taught:
    """Teacher-forced cross-entropy of the digits and the end token (Vaswani et al. 2017, 5.4); padding is inert."""
    return cross_entropy(model(scenes.images, scenes.tokens[:, :-1]), scenes.tokens[:, 1:], smoothing, inert=PAD)


def cells(model: nn.Module, scenes: Scenes, smoothing: float = 0.0) -> Taught:
    """Cross-entropy of every cell's class, empty ones included."""
    return cross_entropy(model(scenes.images), scenes.cells, smoothing)


LOSSES: dict[str, Loss] = {"enc_dec": sequence, "classifier": cells}


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float, inert: int = -1) -> Taught:
    """Mean over the targets that are not inert.

    Args:
        logits: B T V.
        targets: B T, int64.
        smoothing: share of the probability spread over all classes (Szegedy et al. 2016).
    """
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=inert, label_smoothing=smoothing)
    counted = targets != inert
    return Taught(loss, ((logits.argmax(-1) == targets) & counted).sum(), counted.sum())
