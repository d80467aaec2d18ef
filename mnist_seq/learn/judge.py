"""Reading many scenes and saying how well it went: one judge for training's last word and for `evaluate`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mnist_seq.config import LossConfig
from mnist_seq.data.sets import SceneSet
from mnist_seq.judging import judgement
from mnist_seq.judging.judgement import Judgement, Readings
from mnist_seq.learn.losses import plainly, taught
from mnist_seq.nn.decoding import Readout
from mnist_seq.nn.model import Model


@torch.no_grad()
def judge(
    model: Model,
    scenes: SceneSet,
    number: int,
    batch_size: int = 500,
    loss: LossConfig | None = None,
    read: Callable[[Tensor], Readout] | None = None,
) -> Judgement:
    """Read the first scenes of a set, on the model's device and in its precision, and judge what was read.

    Args:
        number: of scenes to read.
        loss: what the model was taught by; cross-entropy if not given.
        read: how to read; greedily if not given.
    """
    loss, read = plainly(loss or LossConfig()), read or model.read
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    readouts, truths, margins = [], [], []
    nats = torch.zeros(2, dtype=torch.float64)
    for first in range(0, number, batch_size):
        ids = torch.arange(first, min(first + batch_size, number))
        batch = scenes.render(ids).to(device)
        readout, went = read(batch.images), taught(model, batch, loss)
        readouts.append([part.cpu() for part in readout[:4]])
        truths.append([part.cpu() for part in (batch.digits, batch.boxes, batch.sources)])
        margins.append(scenes.margins(ids))
        nats += torch.stack([went.loss * went.total, went.total]).cpu().double()
    model.train(training)
    digits, boxes, sources = map(torch.cat, zip(*truths, strict=True))
    decided = [it for it in margins if it is not None]
    found = Readings(
        split=scenes.split,
        readout=Readout(*map(torch.cat, zip(*readouts, strict=True))),
        digits=digits,
        boxes=boxes,
        sources=sources,
        ordered=scenes.spec.ordered,
        margins=torch.cat(decided) if decided else None,
        loss=float(nats[0] / nats[1]),
    )
    return judgement.judge(found)
