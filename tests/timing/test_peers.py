"""Other libraries' models, beside which ours is timed: as large, taught alike, and torch's the very same model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mnist_seq.config import EncoderDecoderConfig, LossConfig
from mnist_seq.data.sets import Synthesised
from mnist_seq.learn.losses import taught
from mnist_seq.nn import EncoderDecoder, decoding
from mnist_seq.timing import peers
from mnist_seq.tokens import decode
from tests.conftest import stirred
from tests.nn.test_blocks import copy, copy_attention

CONFIG = EncoderDecoderConfig(dim=32, heads=4, encoder_depth=2, decoder_depth=2)
LOSS = LossConfig(label_smoothing=0.1)


def pair(grids: Synthesised) -> tuple[EncoderDecoder, peers.Peer]:
    """Torch's model with random weights, and ours with the same."""
    torch.manual_seed(0)
    peer = peers.torch_nn(CONFIG, grids.spec)
    theirs: Any = stirred(peer.model, 0.3).train()
    ours = EncoderDecoder(CONFIG, grids.spec).train()
    ours.encoder.patches.stem.project.load_state_dict(theirs.project.state_dict())
    ours.encoder.position.table.data.copy_(theirs.places)
    ours.position.table.data.copy_(theirs.turns)
    copy(ours, theirs, {"encoder.norm": "encoder.norm", "norm": "decoder.norm", "tokens": "embed", "to_logits": "head"})
    widths = {"feed_forward.widen": "linear1", "feed_forward.shrink": "linear2", "around_attention.norm": "norm1"}
    for block, layer in zip(ours.encoder.blocks, theirs.encoder.layers, strict=True):
        copy_attention(block.attention, layer.self_attn)
        copy(block, layer, widths | {"around_feed_forward.norm": "norm2"})
    for block, layer in zip(ours.decoder, theirs.decoder.layers, strict=True):
        copy_attention(block.attention, layer.self_attn)
        copy_attention(block.cross_attention, layer.multihead_attn)
        copy(block, layer, widths | {"around_cross.norm": "norm2", "around_feed_forward.norm": "norm3"})
    return ours, peer


def test_torchs_model_is_ours_with_the_same_loss_and_gradients(grids: Synthesised) -> None:
    ours, peer = pair(grids)
    theirs: Any = peer.model
    assert sum(it.numel() for it in ours.parameters()) == sum(it.numel() for it in theirs.parameters())
    scenes = grids[:16]
    mine, other = taught(ours, scenes, LOSS).loss, peer.loss(scenes, LOSS.label_smoothing)
    torch.testing.assert_close(mine, other)
    pairs = ((mine, ours.encoder.patches.stem.project.weight), (other, theirs.project.weight))
    torch.testing.assert_close(*(torch.autograd.grad(loss, weight)[0] for loss, weight in pairs), atol=1e-5, rtol=1e-4)


def test_torchs_model_reads_what_ours_reads(grids: Synthesised) -> None:
    ours, peer = pair(grids)
    images = grids[:16].images
    digits = decoding.greedy(ours.eval(), images, constrain=False).digits
    assert decode(peer.reader()(images)[:, : 1 + digits.shape[1]]) == decode(digits)
    assert len({tuple(row) for row in digits.tolist()}) > 1


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_is_of_our_size_and_learns(name: str, grids: Synthesised) -> None:
    if name in peers.absent():
        pytest.skip(f"{name} is not installed: make peers")
    config = EncoderDecoderConfig()
    peer = peers.PEERS[name][1](config, grids.spec)
    ours = sum(it.numel() for it in EncoderDecoder(config, grids.spec).parameters())
    assert sum(it.numel() for it in peer.model.parameters()) == pytest.approx(ours, rel=0.01)
    scenes = grids[:8]
    optimizer = torch.optim.AdamW(peer.model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        losses.append(peer.loss(scenes, 0.0))
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    assert len(peer.reader()(scenes.images)) == 8
