"""Baseline models: as large as ours, trained with the same loss; the torch.nn model is equal to ours."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mnist_seq.benchmarks import baseline_models
from mnist_seq.config import EncoderDecoderConfig, LossConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.nn import EncoderDecoder, decoding
from mnist_seq.nn.losses import compute_loss
from mnist_seq.vocabulary import BOS, EOS, PAD, decode
from tests.conftest import stirred
from tests.nn.test_blocks import copy, copy_attention

CONFIG = EncoderDecoderConfig(dim=32, num_heads=4, encoder_depth=2, decoder_depth=2)
LOSS = LossConfig(label_smoothing=0.1)


def pair(grids: SyntheticDataset) -> tuple[EncoderDecoder, baseline_models.BaselineModel]:
    """Our model, and the torch.nn baseline with the same random weights."""
    torch.manual_seed(0)
    baseline = baseline_models.torch_nn(CONFIG, grids.spec)
    theirs: Any = stirred(baseline.model, 0.3).train()
    ours = EncoderDecoder(CONFIG, grids.spec).train()
    ours.encoder.patch_embed.stem.proj.load_state_dict(theirs.patch_proj.state_dict())
    ours.encoder.pos_embed.table.data.copy_(theirs.pos_embed)
    ours.pos_embed.table.data.copy_(theirs.token_pos_embed)
    copy(
        ours,
        theirs,
        {"encoder.norm": "encoder.norm", "norm": "decoder.norm", "token_embed": "token_embed", "lm_head": "head"},
    )
    widths = {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2", "attention_residual.norm": "norm1"}
    for block, layer in zip(ours.encoder.blocks, theirs.encoder.layers, strict=True):
        copy_attention(block.attention, layer.self_attn)
        copy(block, layer, widths | {"feed_forward_residual.norm": "norm2"})
    for block, layer in zip(ours.decoder, theirs.decoder.layers, strict=True):
        copy_attention(block.attention, layer.self_attn)
        copy_attention(block.cross_attention, layer.multihead_attn)
        copy(block, layer, widths | {"cross_attention_residual.norm": "norm2", "feed_forward_residual.norm": "norm3"})
    return ours, baseline


def test_torch_nn_baseline_has_our_loss_and_gradients(grids: SyntheticDataset) -> None:
    ours, baseline = pair(grids)
    theirs: Any = baseline.model
    assert sum(it.numel() for it in ours.parameters()) == sum(it.numel() for it in theirs.parameters())
    batch = grids[:16]
    our_loss, their_loss = compute_loss(ours, batch, LOSS).loss, baseline.loss(batch, LOSS.label_smoothing)
    torch.testing.assert_close(our_loss, their_loss)
    pairs = ((our_loss, ours.encoder.patch_embed.stem.proj.weight), (their_loss, theirs.patch_proj.weight))
    torch.testing.assert_close(*(torch.autograd.grad(loss, weight)[0] for loss, weight in pairs), atol=1e-5, rtol=1e-4)


def test_torch_nn_baseline_decodes_the_same_digits(grids: SyntheticDataset) -> None:
    ours, baseline = pair(grids)
    images = grids[:16].images
    theirs: Any = baseline.model
    with torch.no_grad():
        for head in (ours.lm_head, theirs.head):
            head.bias[[PAD, BOS]] = -1e4  # ours never predicts these; the baseline would
            head.bias[EOS] += 2  # so that predictions differ in length
    digits = decoding.greedy(ours.eval(), images).digits
    assert decode(baseline.inference_fn()(images)[:, : 1 + digits.shape[1]]) == decode(digits)
    assert len({tuple(row) for row in digits.tolist()}) > 1


@pytest.mark.parametrize("name", baseline_models.BASELINE_MODELS)
def test_baselines_have_our_size_and_can_be_trained(name: str, grids: SyntheticDataset) -> None:
    if name in baseline_models.missing_baselines():
        pytest.skip(f"{name} is not installed: make baselines")
    config = EncoderDecoderConfig()
    baseline = baseline_models.BASELINE_MODELS[name][1](config, grids.spec)
    num_params = sum(it.numel() for it in EncoderDecoder(config, grids.spec).parameters())
    assert sum(it.numel() for it in baseline.model.parameters()) == pytest.approx(num_params, rel=0.01)
    batch = grids[:8]
    optimizer = torch.optim.AdamW(baseline.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        losses.append(baseline.loss(batch, 0.0))
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    assert len(baseline.inference_fn()(batch.images)) == 8
