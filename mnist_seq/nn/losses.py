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
from mnist_seq.config.validation import check
from mnist_seq.data.render import SceneBatch
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import EOS, NUM_DIGITS, PAD, encode


class LossOutput(NamedTuple):
    """How a batch went."""

    loss: Tensor
    """Cross-entropy, nats: a mean over targets, or over scenes of their sum, by the config's `reduction`."""
    num_correct: Tensor
    """Targets that were the likeliest class, given the true ones before them; their number."""
    num_targets: Tensor
    """Number of targets."""


LossFn = Callable[[Model, SceneBatch, LossConfig], LossOutput]


def check_loss(config: LossConfig, model: Model, spec: Spec) -> None:
    """Refuse a loss that cannot teach a model, or would teach it the wrong thing.

    Raises:
        ValueError: a loss for sets, and a model that reads by cells or scenes that are read in order.
    """
    if config.name == "cross_entropy" and not config.shuffle:
        return
    told = f"loss.name={config.name} loss.shuffle={config.shuffle}"
    check(model.output_type == "sequence", f"{told} teaches no model that reads by cells: try model=enc_dec")
    check(not spec.ordered, f"{told} teaches sets, but these scenes are read in order: choose loss=cross_entropy")


def compute_loss(model: Model, batch: SceneBatch, config: LossConfig) -> LossOutput:
    """How well a model does on scenes, by the loss of a config."""
    return LOSSES[config.name, model.output_type](model, batch, config)


def for_eval(config: LossConfig) -> LossConfig:
    """The same loss as it is reported: of true targets alone, a mean over them."""
    return replace(config, label_smoothing=0.0, reduction="mean")


def sequence_loss(model: Model, batch: SceneBatch, config: LossConfig) -> LossOutput:
    """Teacher-forced cross-entropy of the digits and the end token (Vaswani et al. 2017, 5.4); padding is inert."""
    tokens = encode(shuffle_digits(batch.digits)) if config.shuffle and model.training else batch.tokens
    return cross_entropy(model(batch.images, tokens[:, :-1]), tokens[:, 1:], config, ignore_index=PAD)


def cell_loss(model: Model, batch: SceneBatch, config: LossConfig) -> LossOutput:
    """Cross-entropy of every cell's class, empty ones included."""
    return cross_entropy(model(batch.images), batch.cells, config)


def multiset_loss(model: Model, batch: SceneBatch, config: LossConfig) -> LossOutput:
    """Any digit that is still to be read is right, each as much as it is often (Welleck et al. 2018).

    The digits written before come in a random order: of their ways to go on, the one that follows the oracle.
    """
    digits = shuffle_digits(batch.digits) if model.training else batch.digits
    tokens = encode(digits)
    logits = model(batch.images, tokens[:, :-1])
    targets = remaining_targets(digits, logits.shape[-1])
    counted = tokens[:, 1:] != PAD
    smoothed = targets.lerp(torch.full_like(targets, 1 / logits.shape[-1]), config.label_smoothing)
    losses = -(smoothed * logits.float().log_softmax(-1)).sum(-1)
    right = (targets.gather(-1, logits.argmax(-1, keepdim=True))[..., 0] > 0) & counted
    return _reduce((losses * counted).sum(), right, counted, config)


LOSSES: dict[tuple[str, str], LossFn] = {
    ("cross_entropy", "sequence"): sequence_loss,
    ("cross_entropy", "cells"): cell_loss,
    ("multiset", "sequence"): multiset_loss,
}
"""Name of the loss and what the model reads by -> loss."""


def cross_entropy(logits: Tensor, targets: Tensor, config: LossConfig, ignore_index: int = -1) -> LossOutput:
    """Of the targets that are not inert.

    Args:
        logits: B T V.
        targets: B T, int64.
    """
    smoothing = config.label_smoothing
    loss = F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=smoothing,
    )
    counted = targets != ignore_index
    return _reduce(loss, (logits.argmax(-1) == targets) & counted, counted, config)


def shuffle_digits(digits: Tensor) -> Tensor:
    """Each row's digits in a random order, PAD after the last; B N."""
    keys = torch.rand(digits.shape, device=digits.device) + (digits >= NUM_DIGITS)
    return digits.gather(1, keys.argsort(1))


def remaining_targets(digits: Tensor, num_classes: int) -> Tensor:
    """What may be read next, before the first digit and after each one; B N+1 V.

    A distribution over the digits that are left, by their number; EOS where none is left.

    Args:
        digits: B N, PAD after the last.
    """
    there = F.one_hot(digits.clamp(max=NUM_DIGITS), num_classes) * (digits < NUM_DIGITS)[..., None]
    left = F.pad(there.flip(1).cumsum(1).flip(1), (0, 0, 0, 1)).float()
    left[..., EOS] = (left.sum(-1) == 0).float()
    return left / left.sum(-1, keepdim=True)


def _reduce(loss: Tensor, correct: Tensor, counted: Tensor, config: LossConfig) -> LossOutput:
    """Of a summed loss and masks, B T."""
    total = counted.sum()
    return LossOutput(loss / (total if config.reduction == "mean" else len(counted)), correct.sum(), total)
