"""Metrics that are accumulated in validation and test loops.

Shapes: B batch, N longest sequence.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from mnist_seq.evaluation.metrics import METRICS, SceneMetrics, compute_scene_metrics, safe_divide
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.losses import LossOutput

METRIC_NAMES = (*METRICS, "loss")
"""What `SequenceMetrics` computes."""


class SequenceMetrics(Metric):
    """Every metric of evaluation, and the loss: sums over batches and devices, divided once at the end."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.sums: Tensor
        self.loss: Tensor
        self.add_state("sums", torch.zeros(len(SceneMetrics._fields) + 1), dist_reduce_fx="sum")  # exact up to 2**24
        self.add_state("loss", torch.zeros(2), dist_reduce_fx="sum")

    def update(
        self, predictions: DecodeOutput, digits: Int[Tensor, "B N"], loss_output: LossOutput, ordered: bool = True
    ) -> None:
        """Add a batch, in float32, whatever the precision that Lightning has converted the module to.

        Args:
            digits: the labels, PAD after the last.
            loss_output: loss of the same batch, nats per target.
            ordered: whether the order of the digits counts.
        """
        metrics = compute_scene_metrics(predictions, digits, ordered)
        num_scenes = torch.ones_like(metrics.exact_match)
        self.sums = self.sums.float() + torch.stack([*metrics, num_scenes]).float().sum(1)
        self.loss = self.loss.float() + torch.stack(
            [loss_output.loss.float() * loss_output.num_targets, loss_output.num_targets.float()]
        )

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Return every metric, and the mean loss per target in nats."""
        sums = dict(zip([*SceneMetrics._fields, None], self.sums, strict=True))
        values = {name: safe_divide(sums[top], sums[bottom]) for name, (top, bottom) in METRICS.items()}
        return values | {"loss": self.loss[0] / self.loss[1]}
