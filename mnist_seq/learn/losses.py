"""What a model is taught by: from a model and scenes to a loss.

Shapes   B batch   N longest sequence   T targets a scene   V classes
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.config import LossConfig, Spec
from mnist_seq.config.law import require
from mnist_seq.data.scenes import Scenes
from mnist_seq.nn.model import Model
from mnist_seq.tokens import DIGITS, EOS, PAD, encode


class Taught(NamedTuple):
    """How a batch went."""

    loss: Tensor
    """Cross-entropy, nats: a mean over targets, or over scenes of their sum, by the config's `reduction`."""
    right: Tensor
    """Targets that were the likeliest class, given the true ones before them; their number."""
    total: Tensor
    """Number of targets."""


Loss = Callable[[Model, Scenes, LossConfig], Taught]


def require_use(config: LossConfig, model: Model, spec: Spec) -> None:
    """Refuse a loss that cannot teach a model, or would teach it the wrong thing.

    Raises:
        ValueError: a loss for sets, and a model that reads by cells or scenes that are read in order.
    """
    if config.name == "cross_entropy" and not config.shuffle:
        return
    told = f"loss.name={config.name} loss.shuffle={config.shuffle}"
    require(model.reads == "sequence", f"{told} teaches no model that reads by cells: try model=enc_dec")
    require(not spec.ordered, f"{told} teaches sets, but these scenes are read in order: choose loss=cross_entropy")


def taught(model: Model, scenes: Scenes, config: LossConfig) -> Taught:
    """How well a model does on scenes, by the loss of a config."""
    return LOSSES[config.name, model.reads](model, scenes, config)


def plainly(config: LossConfig) -> LossConfig:
    """The same loss as it is reported: of true targets alone, a mean over them."""
    return replace(config, label_smoothing=0.0, reduction="mean")


def sequence(model: Model, scenes: Scenes, config: LossConfig) -> Taught:
    """Teacher-forced cross-entropy of the digits and the end token (Vaswani et al. 2017, 5.4); padding is inert."""
    tokens = encode(shuffled(scenes.digits)) if config.shuffle and model.training else scenes.tokens
    return cross_entropy(model(scenes.images, tokens[:, :-1]), tokens[:, 1:], config, inert=PAD)


def cells(model: Model, scenes: Scenes, config: LossConfig) -> Taught:
    """Cross-entropy of every cell's class, empty ones included."""
    return cross_entropy(model(scenes.images), scenes.cells, config)


def multiset(model: Model, scenes: Scenes, config: LossConfig) -> Taught:
    """Any digit that is still to be read is right, each as much as it is often (Welleck et al. 2018).

    The digits written before come in a random order: of their ways to go on, the one that follows the oracle.
    """
    digits = shuffled(scenes.digits) if model.training else scenes.digits
    tokens = encode(digits)
    logits = model(scenes.images, tokens[:, :-1])
    targets = remaining(digits, logits.shape[-1])
    counted = tokens[:, 1:] != PAD
    smoothed = targets.lerp(torch.full_like(targets, 1 / logits.shape[-1]), config.label_smoothing)
    losses = -(smoothed * logits.float().log_softmax(-1)).sum(-1)
    right = (targets.gather(-1, logits.argmax(-1, keepdim=True))[..., 0] > 0) & counted
    return _taught((losses * counted).sum(), right, counted, config)


LOSSES: dict[tuple[str, str], Loss] = {
    ("cross_entropy", "sequence"): sequence,
    ("cross_entropy", "cells"): cells,
    ("multiset", "sequence"): multiset,
}
"""Name of the loss and what the model reads by -> loss."""


def cross_entropy(logits: Tensor, targets: Tensor, config: LossConfig, inert: int = -1) -> Taught:
    """Of the targets that are not inert.

    Args:
        logits: B T V.
        targets: B T, int64.
    """
    smoothing = config.label_smoothing
    loss = F.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), ignore_index=inert, reduction="sum", label_smoothing=smoothing
    )
    counted = targets != inert
    return _taught(loss, (logits.argmax(-1) == targets) & counted, counted, config)


def shuffled(digits: Tensor) -> Tensor:
    """Each row's digits in a random order, PAD after the last; B N."""
    keys = torch.rand(digits.shape, device=digits.device) + (digits >= DIGITS)
    return digits.gather(1, keys.argsort(1))


def remaining(digits: Tensor, classes: int) -> Tensor:
    """What may be read next, before the first digit and after each one; B N+1 V.

    A distribution over the digits that are left, by their number; EOS where none is left.

    Args:
        digits: B N, PAD after the last.
    """
    there = F.one_hot(digits.clamp(max=DIGITS), classes) * (digits < DIGITS)[..., None]
    left = F.pad(there.flip(1).cumsum(1).flip(1), (0, 0, 0, 1)).float()
    left[..., EOS] = (left.sum(-1) == 0).float()
    return left / left.sum(-1, keepdim=True)


def _taught(loss: Tensor, right: Tensor, counted: Tensor, config: LossConfig) -> Taught:
    """Of a summed loss and masks, B T."""
    total = counted.sum()
    return Taught(loss / (total if config.reduction == "mean" else len(counted)), right.sum(), total)
