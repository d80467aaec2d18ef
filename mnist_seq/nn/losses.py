"""Training losses: from a model and a batch to a loss and counts.

Shapes: B batch, N longest sequence, M its N+1 targets: the digits and EOS, T targets per scene, C cells, V classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from mnist_seq.config import LossConfig, Spec
from mnist_seq.config.validation import check
from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import EOS, NUM_DIGITS, PAD, encode


@runtime_checkable
class Batch(Protocol):
    """What losses need of a batch of scenes."""

    @property
    def images(self) -> Num[Tensor, "B 1 Y X"]:
        """uint8 grey levels, or floats in [0, 1]."""

    @property
    def digits(self) -> Int[Tensor, "B N"]:
        """In reading order, PAD after the last."""

    @property
    def tokens(self) -> Int[Tensor, "B N+2"]:
        """The digits between BOS and EOS, PAD after EOS."""

    @property
    def cells(self) -> Int[Tensor, "B C"]:
        """Class of each cell: its digit, or EMPTY_CELL."""


class LossOutput(NamedTuple):
    """Loss and counts of a batch."""

    loss: Float[Tensor, ""]
    """Cross-entropy, nats, mean over all targets of the batch."""
    num_correct: Int[Tensor, ""]
    """Number of targets that the model ranks first."""
    num_targets: Int[Tensor, ""]
    """Number of targets, padding excluded."""


LossFn = Callable[[Model, Batch, LossConfig], LossOutput]


def check_loss(config: LossConfig, model: Model, spec: Spec) -> None:
    """Refuse an order-free loss for a cell model, or for scenes that are read in order.

    Raises:
        UserError: the loss does not fit.
    """
    if config.name not in ORDER_FREE and not config.shuffle:
        return
    key = f"loss.name={config.name} loss.shuffle={config.shuffle}"
    check(model.output_type == "sequence", f"{key} needs a sequence model: choose model=enc_dec")
    check(not spec.ordered, f"{key} ignores order, but these scenes are ordered: choose loss=cross_entropy")


def compute_loss(model: Model, batch: Batch, config: LossConfig) -> LossOutput:
    """Compute the loss that a config names."""
    return LOSSES[config.name, model.output_type](model, batch, config)


def for_eval(config: LossConfig) -> LossConfig:
    """Return the config of the loss that evaluation reports: the same without label smoothing."""
    return replace(config, label_smoothing=0.0)


def sequence_loss(model: Model, batch: Batch, config: LossConfig) -> LossOutput:
    """Teacher-forced cross-entropy of the digits and EOS (Vaswani et al. 2017, 5.4). Padding is ignored."""
    tokens = encode(shuffle_digits(batch.digits)) if config.shuffle and model.training else batch.tokens
    return cross_entropy(model(batch.images, tokens[:, :-1]), tokens[:, 1:], config, ignore_index=PAD)


def cell_loss(model: Model, batch: Batch, config: LossConfig) -> LossOutput:
    """Cross-entropy of the class of each cell, empty ones included."""
    return cross_entropy(model(batch.images), batch.cells, config)


def multiset_loss(model: Model, batch: Batch, config: LossConfig) -> LossOutput:
    """Order-free loss: the target of each step is a distribution over the digits that are left (Welleck et al. 2018).

    The model is given the digits in a random order, as one of the orders that the oracle policy would sample.
    """
    digits = shuffle_digits(batch.digits) if model.training else batch.digits
    tokens = encode(digits)
    logits = model(batch.images, tokens[:, :-1])
    targets = remaining_targets(digits, logits.shape[-1])
    mask = tokens[:, 1:] != PAD
    smoothed = targets.lerp(torch.full_like(targets, 1 / logits.shape[-1]), config.label_smoothing)
    losses = -(smoothed * logits.float().log_softmax(-1)).sum(-1)
    correct = (targets.gather(-1, logits.argmax(-1, keepdim=True))[..., 0] > 0) & mask
    return _loss_output((losses * mask).sum(), correct, mask)


LOSSES: dict[tuple[str, str], LossFn] = {
    ("cross_entropy", "sequence"): sequence_loss,
    ("cross_entropy", "cells"): cell_loss,
    ("multiset", "sequence"): multiset_loss,
}
"""(loss.name, output_type of the model) -> loss."""
ORDER_FREE = ("multiset",)
"""Losses for which the order of the digits does not count."""


def cross_entropy(
    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"], config: LossConfig, ignore_index: int = -1
) -> LossOutput:
    """Cross-entropy with label smoothing, in float32; targets equal to `ignore_index` do not count."""
    summed = F.cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=ignore_index,
        reduction="sum",
        label_smoothing=config.label_smoothing,
    )
    mask = targets != ignore_index
    return _loss_output(summed, (logits.argmax(-1) == targets) & mask, mask)


def shuffle_digits(digits: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Shuffle the digits of each row, PAD after the last; draws from torch's global random state."""
    keys = torch.rand(digits.shape, dtype=torch.float32, device=digits.device) + (digits >= NUM_DIGITS)
    return digits.gather(1, keys.argsort(1))


def remaining_targets(digits: Int[Tensor, "B N"], num_classes: int) -> Float[Tensor, "B M num_classes"]:
    """Compute the target distribution of each step of the multiset loss.

    Step i spreads its probability over the digits from index i on, in proportion to their counts; EOS where none is
    left.

    Args:
        digits: PAD after the last.
    """
    one_hot = F.one_hot(digits.clamp(max=NUM_DIGITS), num_classes) * (digits < NUM_DIGITS)[..., None]
    counts = F.pad(one_hot.flip(1).cumsum(1).flip(1), (0, 0, 0, 1)).float()
    counts[..., EOS] = (counts.sum(-1) == 0).float()
    return counts / counts.sum(-1, keepdim=True)


def _loss_output(summed: Float[Tensor, ""], correct: Bool[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> LossOutput:
    """Divide a summed loss by the number of targets in `mask`."""
    num_targets = mask.sum()
    return LossOutput(summed / num_targets, correct.sum(), num_targets)
