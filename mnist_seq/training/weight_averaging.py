"""The exponential moving average of the weights, with a decay that rises to its value, so that short runs gain too."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from mnist_seq.config.validation import check
from mnist_seq.training.steps import total_steps


class EMAWeightAveraging(WeightAveraging):
    """What is validated, evaluated and kept is the average of the weights: as Lightning's class of this name, but warm.

    The average begins as a copy of the weights; the decay of update t after it is min(decay, (1 + t) / (10 + t)), as in
    TensorFlow's ExponentialMovingAverage: a constant 0.998 still holds a tenth of the first weights after 1,150 steps.
    Until `update_starting_at_step` it is a copy at each update.

    Args:
        decay: share of the average that an update keeps, at most; at least 0 and below 1.
        update_every_n_steps: optimiser steps between updates.
        update_starting_at_step: the first step that is averaged with those before it, counted from 0.
        use_buffers: average buffers too, not only parameters.
        device: where the average lives; null is where the model does.
    """

    def __init__(
        self,
        decay: float = 0.999,
        update_every_n_steps: int = 1,
        update_starting_at_step: int | None = None,
        use_buffers: bool = False,
        device: str | None = None,
    ) -> None:
        check(0 <= decay < 1, f"decay={decay} must be at least 0 and below 1")
        check(update_every_n_steps >= 1, f"update_every_n_steps={update_every_n_steps} must be at least 1")
        super().__init__(device, use_buffers, multi_avg_fn=self._average)
        self.decay, self.update_every_n_steps = decay, update_every_n_steps
        self.update_starting_at_step = update_starting_at_step or 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Raises UserError: training ends before there is an average."""
        steps = total_steps(trainer)
        for name in ("update_starting_at_step", "update_every_n_steps"):
            value = getattr(self, name)
            check(
                steps is None or value < steps or value == 1,
                f"{name}={value} of the weights' average is not reached in {steps} steps: choose less, "
                "or more trainer.max_steps",
            )

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx % self.update_every_n_steps == 0

    def _average(self, averages: Any, weights: Any, updates: Tensor | int) -> None:
        """Update in place.

        Args:
            averages, weights: tensors, in the same order.
            updates: how many there were before, copies included; at least 1.
        """
        copies = -(-self.update_starting_at_step // self.update_every_n_steps)
        t = torch.as_tensor(updates, dtype=torch.float32, device=averages[0].device) - copies
        decay = ((1 + t) / (10 + t)).clamp(max=self.decay).where(t > 0, 0.0)
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, (1 - decay).to(average.dtype))
