"""Sums of verdicts while a model learns."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from mnist_seq.evaluation.metrics import METRICS, SceneMetrics, compute_scene_metrics, safe_divide
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.losses import LossOutput

METRIC_NAMES = (*METRICS, "loss")
"""Of what `ReadingScore` computes."""


class SequenceMetrics(Metric):
    """Sums of verdicts and losses over batches and devices, divided once at the end."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.sums: Tensor
        self.loss: Tensor
        self.add_state("sums", torch.zeros(len(SceneMetrics._fields) + 1), dist_reduce_fx="sum")  # exact up to 2**24
        self.add_state("loss", torch.zeros(2), dist_reduce_fx="sum")

    def update(self, output: DecodeOutput, digits: Tensor, loss_output: LossOutput, ordered: bool = True) -> None:
        verdict = compute_scene_metrics(output, digits, ordered)
        scenes = torch.ones_like(verdict.exact_match)
        self.sums += torch.stack([*verdict, scenes]).sum(1)
        self.loss += torch.stack([loss_output.loss.float() * loss_output.num_targets, loss_output.num_targets.float()])

    def compute(self) -> dict[str, Tensor]:
        """Every measure, and the mean loss a target."""
        sums = dict(zip([*SceneMetrics._fields, None], self.sums, strict=True))
        values = {name: safe_divide(sums[top], sums[bottom]) for name, (top, bottom) in METRICS.items()}
        return values | {"loss": self.loss[0] / self.loss[1]}
