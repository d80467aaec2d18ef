"""The matmul roofline: its matrix products are those of a real training step."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mnist_seq import nn
from mnist_seq.benchmarks import roofline
from mnist_seq.config import EncoderDecoderConfig, LossConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.nn.losses import compute_loss


def test_roofline_matmuls_have_the_flops_of_a_training_step(grids: SyntheticDataset) -> None:
    model = nn.build(EncoderDecoderConfig(dim=32, num_heads=2, encoder_depth=2, decoder_depth=1), grids.spec)
    batch = grids[:8]
    matmuls = roofline.linear_matmuls(model, lambda: compute_loss(model, batch, LossConfig()))
    with FlopCounterMode(display=False) as counter:
        compute_loss(model, batch, LossConfig()).loss.backward()
    linear = {torch.ops.aten.mm, torch.ops.aten.addmm}
    expected = sum(flops for op, flops in counter.get_flop_counts()["Global"].items() if op in linear)
    assert sum(matmul.flops for matmul in matmuls) == expected
    with FlopCounterMode(display=False) as counter:
        roofline.matmul_workload(matmuls)()
    assert counter.get_total_flops() == expected
