"""Exponential moving average (EMA) of the weights."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from mnist_seq.config.validation import check
from mnist_seq.training.steps import total_steps


class EMAWeightAveraging(WeightAveraging):
    """Validate, evaluate and save an exponential moving average of the weights.

    It differs from Lightning's callback of the same name by a warm-up, so that short runs gain too: update t uses the
    decay min(decay, (1 + t) / (10 + t)), as TensorFlow's ExponentialMovingAverage does. A constant 0.998 would still
    hold a tenth of the initial weights after 1,150 steps.

    Args:
        decay: upper bound of the decay, in [0, 1).
        update_every_n_steps: optimizer steps between updates.
        update_starting_at_step: first step that the average contains, counted from 0; until then each update copies
            the weights.
        use_buffers: average buffers as well as parameters.
        device: where the average is stored; null is the device of the model.

    Raises:
        UserError: a value out of range; when training starts, an average that would never begin.
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
        super().__init__(device, use_buffers, multi_avg_fn=self._update_average)
        self.decay, self.update_every_n_steps = decay, update_every_n_steps
        self.update_starting_at_step = update_starting_at_step or 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        check(
            trainer.precision in ("32-true", "bf16-mixed", "16-mixed"),
            f"trainer.precision={trainer.precision} does not work with a weight average, which is kept in float32: "
            "choose trainer.precision=32-true or bf16-mixed",
        )
        steps = total_steps(trainer)
        for name in ("update_starting_at_step", "update_every_n_steps"):
            value = getattr(self, name)
            check(
                steps is None or value < steps or value == 1,
                f"{name}={value} of the weight average is not reached within {steps} steps: lower it, "
                "or raise trainer.max_steps",
            )

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Leave the weights alone, unlike Lightning: a checkpoint may still be saved, and training go on from it."""

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        super().on_train_end(trainer, module)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and step_idx % self.update_every_n_steps == 0

    def _update_average(self, averages: Any, weights: Any, num_updates: Tensor | int) -> None:
        """Update the averages in place.

        Args:
            averages, weights: tensors, in the same order.
            num_updates: earlier updates, copies included; at least 1.
        """
        num_copies = -(-self.update_starting_at_step // self.update_every_n_steps)
        t = torch.as_tensor(num_updates, dtype=torch.float32, device=averages[0].device) - num_copies
        decay = ((1 + t) / (10 + t)).clamp(max=self.decay).where(t > 0, 0.0)
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, (1 - decay).to(average.dtype))
