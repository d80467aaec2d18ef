"""Reading many scenes and saying how well it went: one judge for training's last word and for `evaluate`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mnist_seq.config import LossConfig
from mnist_seq.data.datasets import SceneDataset
from mnist_seq.evaluation import eval_result
from mnist_seq.evaluation.eval_result import EvalResult, Predictions
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.losses import compute_loss, for_eval
from mnist_seq.nn.model import Model


@torch.no_grad()
def evaluate_model(
    model: Model,
    scenes: SceneDataset,
    num_scenes: int,
    batch_size: int = 500,
    loss: LossConfig | None = None,
    decode_fn: Callable[[Tensor], DecodeOutput] | None = None,
) -> EvalResult:
    """Read the first scenes of a set, on the model's device and in its precision, and judge what was read.

    Args:
        number: of scenes to read.
        loss: what the model was taught by; cross-entropy if not given.
        read: how to read; greedily if not given.
    """
    loss, decode_fn = for_eval(loss or LossConfig()), decode_fn or model.read
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    readouts, truths, margins = [], [], []
    nats = torch.zeros(2, dtype=torch.float64)
    for first in range(0, num_scenes, batch_size):
        ids = torch.arange(first, min(first + batch_size, num_scenes))
        batch = scenes.render(ids).to(device)
        readout, went = decode_fn(batch.images), compute_loss(model, batch, loss)
        readouts.append([part.cpu() for part in readout[:4]])
        truths.append([part.cpu() for part in (batch.digits, batch.boxes, batch.sources)])
        margins.append(scenes.order_margins(ids))
        nats += torch.stack([went.loss * went.num_targets, went.num_targets]).cpu().double()
    model.train(training)
    digits, boxes, sources = map(torch.cat, zip(*truths, strict=True))
    decided = [it for it in margins if it is not None]
    found = Predictions(
        split=scenes.split,
        output=DecodeOutput(*map(torch.cat, zip(*readouts, strict=True))),
        digits=digits,
        boxes=boxes,
        source_ids=sources,
        ordered=scenes.spec.ordered,
        order_margins=torch.cat(decided) if decided else None,
        loss=float(nats[0] / nats[1]),
    )
    return eval_result.compute_result(found)
