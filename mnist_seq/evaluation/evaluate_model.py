"""Evaluate a model on scenes: used at the end of training, and by `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mnist_seq.config import LossConfig
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.evaluation.eval_result import EvalResult, compute_result
from mnist_seq.evaluation.predictions import Predictions
from mnist_seq.evaluation.writers import find_writers
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
    """Evaluate a model on the first scenes of a dataset, on the model's device and in its precision.

    Args:
        num_scenes: how many scenes.
        batch_size: scenes per batch.
        loss: the training loss, evaluated without label smoothing; cross-entropy by default.
        decode_fn: maps images, B C H W, to predictions; `model.read` by default.
    """
    loss, decode_fn = for_eval(loss or LossConfig()), decode_fn or model.read
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    columns: list[Tensor] = []
    order_margins = []
    loss_sum_and_count = torch.zeros(2, dtype=torch.float64)
    for first in range(0, num_scenes, batch_size):
        ids = torch.arange(first, min(first + batch_size, num_scenes))
        batch = scenes.render(ids).to(device)
        output, out = decode_fn(batch.images), compute_loss(model, batch, loss)
        _fill(columns, (*output[:4], batch.digits, batch.boxes, batch.sources), first, num_scenes)
        if (margins := scenes.order_margins(ids)) is not None:
            order_margins.append(margins)
        loss_sum_and_count += torch.stack([out.loss * out.num_targets, out.num_targets]).cpu().double()
    model.train(was_training)
    *output_columns, digits, boxes, source_ids = columns
    labels = scenes.labels and scenes.labels[:num_scenes]
    predictions = Predictions(
        split=scenes.split,
        output=DecodeOutput(*output_columns),
        digits=digits,
        boxes=boxes,
        source_ids=source_ids,
        ordered=scenes.spec.ordered,
        order_margins=torch.cat(order_margins) if order_margins else None,
        loss=float(loss_sum_and_count[0] / loss_sum_and_count[1]),
        writer_ids=find_writers(labels, scenes.writer_column) if labels else None,
        files=[label.name for label in labels] if labels else None,
    )
    return compute_result(predictions)


def _fill(columns: list[Tensor], batch: Sequence[Tensor], first: int, num_scenes: int) -> None:
    """Copy a batch into its rows of columns on the CPU, which the first batch allocates.

    Concatenating the batches at the end would hold all values twice.

    Args:
        columns: one tensor per value, a row per scene.
        batch: the values of the scenes from `first` on.
        num_scenes: rows of each column.
    """
    if not columns:
        columns += [torch.empty(num_scenes, *values.shape[1:], dtype=values.dtype) for values in batch]
    for column, values in zip(columns, batch, strict=True):
        column[first : first + len(values)] = values
