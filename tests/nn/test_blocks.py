"""Our layers against torch's own: same weights, same outputs, same gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.nn.attention import Attention, KeyValue
from mnist_seq.nn.blocks import DecoderBlock, EncoderBlock
from tests.conftest import stirred

DIM, HEADS = 24, 3


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    query, memory = theirs.in_proj_weight.split([DIM, 2 * DIM])
    query_bias, memory_bias = theirs.in_proj_bias.split([DIM, 2 * DIM])
    for layer, weight, bias in (
        (ours.to_query, query, query_bias),
        (ours.to_memory, memory, memory_bias),
        (ours.merge, theirs.out_proj.weight, theirs.out_proj.bias),
    ):
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(bias)


def copy(ours: nn.Module, theirs: nn.Module, pairs: dict[str, str]) -> None:
    for mine, other in pairs.items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(other).state_dict())


def assert_same(ours: Tensor, theirs: Tensor, mine: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weight = torch.linspace(-1, 1, ours.numel()).view(ours.shape)
    gradients = [torch.autograd.grad((out * weight).sum(), into)[0] for out, into in ((ours, mine), (theirs, other))]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


@pytest.fixture
def tokens() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, 5, DIM)
    return x.clone().requires_grad_(), x.clone().requires_grad_()


def test_attention_is_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    attention = Attention(DIM, HEADS)
    x, seen = torch.randn(2, 5, DIM), torch.randn(2, 7, DIM)
    mask = torch.rand(5, 7) > 0.3
    mask[:, 0] = True
    keys, values = attention.memory(seen)
    queries = attention.to_query(x).view(2, 5, HEADS, -1).transpose(1, 2)
    scores = (queries @ keys.transpose(-1, -2) / (DIM // HEADS) ** 0.5).masked_fill(~mask, -torch.inf)
    expected = attention.merge((scores.softmax(-1) @ values).transpose(1, 2).reshape(2, 5, DIM))
    torch.testing.assert_close(attention(x, KeyValue(keys, values), mask), expected, atol=1e-6, rtol=1e-5)


def test_attention_equals_torchs(tokens: tuple[Tensor, Tensor]) -> None:
    mine, other = tokens
    theirs = stirred(nn.MultiheadAttention(DIM, HEADS, batch_first=True))
    ours = Attention(DIM, HEADS)
    copy_attention(ours, theirs)
    assert_same(ours(mine, ours.memory(mine)), theirs(other, other, other, need_weights=False)[0], mine, other)


def test_the_encoder_block_equals_torchs(tokens: tuple[Tensor, Tensor]) -> None:
    mine, other = tokens
    theirs = stirred(nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, 0.0, F.gelu, batch_first=True, norm_first=True))
    ours = EncoderBlock(DIM, HEADS, 4, 0.0)
    copy_attention(ours.attention, theirs.self_attn)
    names = {"attention_norm": "norm1", "feed_forward_norm": "norm2"}
    copy(ours, theirs, names | {"feed_forward.widen": "linear1", "feed_forward.shrink": "linear2"})
    assert_same(ours(mine), theirs.train()(other), mine, other)


def test_the_decoder_block_equals_torchs(tokens: tuple[Tensor, Tensor]) -> None:
    mine, other = tokens
    memory = torch.randn(2, 7, DIM)
    theirs = stirred(nn.TransformerDecoderLayer(DIM, HEADS, 4 * DIM, 0.0, F.gelu, batch_first=True, norm_first=True))
    ours = DecoderBlock(DIM, HEADS, 4, 0.0)
    copy_attention(ours.attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    names = {"attention_norm": "norm1", "cross_norm": "norm2", "feed_forward_norm": "norm3"}
    copy(ours, theirs, names | {"feed_forward.widen": "linear1", "feed_forward.shrink": "linear2"})
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    nothing = KeyValue(torch.zeros(2, HEADS, 0, DIM // HEADS), torch.zeros(2, HEADS, 0, DIM // HEADS))
    read, _ = ours(mine, nothing, ours.cross_attention.memory(memory), causal)
    assert_same(read, theirs(other, memory, tgt_mask=~causal), mine, other)
