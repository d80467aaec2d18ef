"""Reading many scenes and saying how well it went: one judge for training's last word and for `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mnist_seq.config import LossConfig
from mnist_seq.data.sets import SceneSet
from mnist_seq.learn import metrics
from mnist_seq.learn.losses import plainly, taught
from mnist_seq.nn.decoding import Readout
from mnist_seq.nn.model import Model


@dataclass(frozen=True)
class Judgement:
    """The figures of a split, each with its 95 % interval."""

    split: str
    scenes: int
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    loss: float
    """Mean cross-entropy a target, teacher-forced, nats."""
    confusion: Tensor
    """10 11, int64: true digit by read digit, the last column for none."""

    def as_dict(self) -> dict[str, Any]:
        """What metrics.json keeps under the split's name."""
        figures: dict[str, Any] = {"scenes": self.scenes, "loss": self.loss}
        for name, value in self.values.items():
            figures[name] = value
            figures[f"{name}_interval"] = list(self.intervals[name])
        return figures | {"confusion": self.confusion.tolist()}


@torch.no_grad()
def judge(
    model: Model,
    scenes: SceneSet,
    number: int,
    batch_size: int = 500,
    loss: LossConfig | None = None,
    read: Callable[[Tensor], Readout] | None = None,
) -> Judgement:
    """Read the first scenes of a set, on the model's device and in its precision.

    Args:
        number: of scenes to read.
        loss: what the model was taught by; cross-entropy if not given.
        read: how to read; greedily if not given.
    """
    loss, read = plainly(loss or LossConfig()), read or model.read
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    verdicts, sources = [], []
    confusion = torch.zeros(10, 11, dtype=torch.int64)
    nats = torch.zeros(2, dtype=torch.float64)
    for first in range(0, number, batch_size):
        ids = torch.arange(first, min(first + batch_size, number))
        batch = scenes.render(ids).to(device)
        readout, went = read(batch.images), taught(model, batch, loss)
        verdicts.append(torch.stack(metrics.judge(readout, batch.digits, scenes.spec.ordered)).cpu())
        sources.append(batch.sources.cpu())
        confusion += metrics.confusion(readout, batch.digits, scenes.spec.ordered).cpu()
        nats += torch.stack([went.loss * went.total, went.total]).cpu().double()
    model.train(training)
    verdict = dict(zip(metrics.Verdict._fields, torch.cat(verdicts, 1), strict=True))
    shown, ones = torch.cat(sources), torch.ones(number)
    values, intervals = {}, {}
    for name, (top, bottom) in metrics.MEASURES.items():
        total = verdict[bottom] if bottom else ones
        values[name] = metrics.share(verdict[top].double().sum(), total.double().sum()).item()
        intervals[name] = metrics.interval(verdict[top], total, shown)
    return Judgement(scenes.split, number, values, intervals, float(nats[0] / nats[1]), confusion)
