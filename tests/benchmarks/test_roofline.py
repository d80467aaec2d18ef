"""The products that a training step is held against are those that it makes."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mnist_seq import nn
from mnist_seq.benchmarks import roofline
from mnist_seq.config import EncoderDecoderConfig, LossConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.nn.losses import compute_loss


def test_products_are_those_of_a_training_step(grids: SyntheticDataset) -> None:
    model = nn.build(EncoderDecoderConfig(dim=32, num_heads=2, encoder_depth=2, decoder_depth=1), grids.spec)
    scenes = grids[:8]
    needed = roofline.linear_matmuls(model, lambda: compute_loss(model, scenes, LossConfig()))
    with FlopCounterMode(display=False) as counted:
        compute_loss(model, scenes, LossConfig()).loss.backward()
    linear = {torch.ops.aten.mm, torch.ops.aten.addmm}
    expected = sum(flops for kind, flops in counted.get_flop_counts()["Global"].items() if kind in linear)
    assert sum(product.flops for product in needed) == expected
    with FlopCounterMode(display=False) as counted:
        roofline.matmul_workload(needed)()
    assert counted.get_total_flops() == expected
