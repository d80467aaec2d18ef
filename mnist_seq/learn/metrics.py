"""Sums of verdicts while a model learns."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from mnist_seq.judging.verdicts import MEASURES, Verdict, judge, share
from mnist_seq.learn.losses import Taught
from mnist_seq.nn.decoding import Readout

NAMES = (*MEASURES, "loss")
"""Of what `ReadingScore` computes."""


class ReadingScore(Metric):
    """Sums of verdicts and losses over batches and devices, divided once at the end."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.sums: Tensor
        self.loss: Tensor
        self.add_state("sums", torch.zeros(len(Verdict._fields) + 1), dist_reduce_fx="sum")  # exact up to 2**24
        self.add_state("loss", torch.zeros(2), dist_reduce_fx="sum")

    def update(self, readout: Readout, digits: Tensor, taught: Taught, ordered: bool = True) -> None:
        verdict = judge(readout, digits, ordered)
        scenes = torch.ones_like(verdict.exact)
        self.sums += torch.stack([*verdict, scenes]).sum(1)
        self.loss += torch.stack([taught.loss.float() * taught.total, taught.total.float()])

    def compute(self) -> dict[str, Tensor]:
        """Every measure, and the mean loss a target."""
        sums = dict(zip([*Verdict._fields, None], self.sums, strict=True))
        values = {name: share(sums[top], sums[bottom]) for name, (top, bottom) in MEASURES.items()}
        return values | {"loss": self.loss[0] / self.loss[1]}
