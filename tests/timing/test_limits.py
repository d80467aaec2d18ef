"""The products that a training step is held against are those that it makes."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from mnist_seq import nn
from mnist_seq.config import EncoderDecoderConfig, LossConfig
from mnist_seq.data.sets import Synthesised
from mnist_seq.learn.losses import taught
from mnist_seq.timing import limits


def test_products_are_those_of_a_training_step(grids: Synthesised) -> None:
    model = nn.build(EncoderDecoderConfig(dim=32, heads=2, encoder_depth=2, decoder_depth=1), grids.spec)
    scenes = grids[:8]
    needed = limits.products(model, lambda: taught(model, scenes, LossConfig()))
    with FlopCounterMode(display=False) as counted:
        taught(model, scenes, LossConfig()).loss.backward()
    linear = {torch.ops.aten.mm, torch.ops.aten.addmm}
    expected = sum(flops for kind, flops in counted.get_flop_counts()["Global"].items() if kind in linear)
    assert sum(product.flops for product in needed) == expected
    with FlopCounterMode(display=False) as counted:
        limits.alone(needed)()
    assert counted.get_total_flops() == expected
