"""Our layers against torch's own, and against the formulas: same weights, same outputs, same gradients."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig
from mnist_seq.nn.attention import Attention, KeyValue, attend
from mnist_seq.nn.blocks import DecoderBlock, EncoderBlock, GatedFeedForward, Residual, drop_path_rates
from mnist_seq.nn.positions import RotaryEmbedding
from tests.conftest import stirred

DIM, HEADS, SCENES, TOKENS = 24, 3, 4, 5
NOTHING = KeyValue(torch.zeros(SCENES, HEADS, 0, DIM // HEADS), torch.zeros(SCENES, HEADS, 0, DIM // HEADS))
CAUSAL = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
THERE = torch.arange(TOKENS) < torch.tensor([[5], [3], [1], [4]])
"""SCENES TOKENS: what is no padding."""
KINDS = list(product(["pre", "post"], ["relu", "gelu"]))
PRECISIONS = {"32": (1e-5, 1e-5), "bf16": (4e-2, 1e-1)}
"""Largest difference of outputs, and of gradients, by precision: bf16 keeps 8 bits of these values of order 1."""


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    """Torch stacks queries, keys and values; we keep queries apart."""
    for name, stacked in (("weight", theirs.in_proj_weight), ("bias", theirs.in_proj_bias)):
        query, *memory = stacked.chunk(3)
        getattr(ours.q_proj, name).data.copy_(query)
        getattr(ours.kv_proj, name).data.copy_(torch.cat(memory))
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())


def copy(ours: nn.Module, theirs: nn.Module, pairs: dict[str, str]) -> None:
    for mine, other in pairs.items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(other).state_dict())


def assert_same(ours: Tensor, theirs: Tensor, mine: Tensor, other: Tensor, precision: str = "32") -> None:
    """Outputs and the gradients of what went in, input or weight."""
    output, gradient = PRECISIONS[precision]
    torch.testing.assert_close(ours.float(), theirs.float(), atol=output, rtol=output)
    weight = torch.linspace(-1, 1, ours.numel()).view(ours.shape)
    pairs = ((ours, mine), (theirs, other))
    gradients = [torch.autograd.grad((out * weight).sum(), into, retain_graph=True)[0] for out, into in pairs]
    torch.testing.assert_close(*gradients, atol=gradient, rtol=gradient)


def config(**changes: object) -> EncoderConfig:
    return EncoderConfig(**({"dim": DIM, "num_heads": HEADS} | changes))  # type: ignore[arg-type]


@pytest.fixture
def tokens() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(SCENES, TOKENS, DIM)
    return x.clone().requires_grad_(), x.clone().requires_grad_()


@pytest.mark.parametrize("dim_k", [8, 4, 12])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_attention_is_softmax_of_scaled_products(dim_k: int, precision: str) -> None:
    torch.manual_seed(0)
    attention = Attention(DIM, HEADS, dim_k)
    x, seen = torch.randn(2, 5, DIM, requires_grad=True), torch.randn(2, 7, DIM)
    mask = torch.rand(5, 7) > 0.3
    mask[:, 0] = True
    again = x.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        memory = attention.project_kv(seen)
        queries = attention.q_proj(again).view(2, 5, HEADS, -1).transpose(1, 2)
        scores = (queries @ memory.keys.transpose(-1, -2) / dim_k**0.5).masked_fill(~mask, -torch.inf)
        expected = attention.out_proj((scores.softmax(-1) @ memory.values).transpose(1, 2).reshape(2, 5, DIM))
        found = attention(x, memory, mask)
    assert_same(found, expected, x, again, precision)


def test_on_a_cpu_attention_of_bfloat16_vectors_is_that_of_float32_rounded_once() -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, SCENES, HEADS, TOKENS, DIM // HEADS).bfloat16()
    expected = F.scaled_dot_product_attention(queries.float(), keys.float(), values.float(), attn_mask=CAUSAL)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(queries, KeyValue(keys, values), CAUSAL)
    assert torch.equal(found, expected.bfloat16())


def test_attention_of_float64_vectors_loses_nothing() -> None:
    queries, keys, values = torch.randn(3, SCENES, HEADS, TOKENS, DIM // HEADS, dtype=torch.float64)
    expected = (queries @ keys.mT / (DIM // HEADS) ** 0.5).softmax(-1) @ values
    torch.testing.assert_close(attend(queries, KeyValue(keys, values)), expected, rtol=1e-12, atol=1e-12)


def test_weights_to_look_at_are_those_that_attention_uses() -> None:
    torch.manual_seed(0)
    attention, x = Attention(DIM, HEADS, 12), torch.randn(SCENES, TOKENS, DIM)
    turn = RotaryEmbedding((TOKENS,), DIM, 12).rope()
    memory = attention.project_kv(x, turn)
    weights = attention.attention_weights(x, memory, CAUSAL, turn)
    torch.testing.assert_close(weights.sum(-1), torch.ones(SCENES, HEADS, TOKENS))
    assert (weights.masked_select(~CAUSAL) == 0).all()
    found = attention.out_proj((weights @ memory.values).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(found, attention(x, memory, CAUSAL, turn), atol=1e-6, rtol=1e-5)


def test_queries_and_keys_are_turned_and_values_are_not() -> None:
    torch.manual_seed(0)
    attention, x = Attention(DIM, HEADS, 8), torch.randn(SCENES, TOKENS, DIM)
    turn = RotaryEmbedding((TOKENS,), DIM, 8).rope()
    plain, turned = attention.project_kv(x), attention.project_kv(x, turn)
    assert torch.equal(turned.values, plain.values)
    torch.testing.assert_close(turned.keys, turn(plain.keys))
    torch.testing.assert_close(attention.project_q(x, turn), turn(attention.project_q(x)))
    scores = turn(attention.project_q(x)) @ turn(plain.keys).mT / 8**0.5
    expected = attention.out_proj((scores.softmax(-1) @ plain.values).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(attention(x, turned, rope=turn), expected, atol=1e-6, rtol=1e-5)


def test_attention_equals_torchs(tokens: tuple[Tensor, Tensor]) -> None:
    mine, other = tokens
    theirs = stirred(nn.MultiheadAttention(DIM, HEADS, batch_first=True))
    ours = Attention(DIM, HEADS, DIM // HEADS)
    copy_attention(ours, theirs)
    assert_same(ours(mine, ours.project_kv(mine)), theirs(other, other, other, need_weights=False)[0], mine, other)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("norm", "activation"), KINDS)
def test_the_encoder_block_equals_torchs(
    norm: str, activation: str, padded: bool, precision: str, tokens: tuple[Tensor, Tensor]
) -> None:
    mine, other = tokens
    theirs = stirred(
        nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, 0.0, activation, batch_first=True, norm_first=norm == "pre")
    ).train()
    ours = EncoderBlock(config(norm=norm, activation=activation))
    copy_attention(ours.attention, theirs.self_attn)
    copy(ours, theirs, {"attention_residual.norm": "norm1", "feed_forward_residual.norm": "norm2"})
    copy(ours, theirs, {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2"})
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found = ours(mine, THERE[:, None, None] if padded else None)
    expected = theirs(other, src_key_padding_mask=~THERE if padded else None)
    assert_same(found, expected, mine, other, precision)
    if precision == "32":
        assert_same(found, expected, ours.feed_forward.fc1.weight, theirs.linear1.weight)
        assert_same(found, expected, ours.attention_residual.norm.weight, theirs.norm1.weight)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("norm", "activation"), KINDS)
def test_the_decoder_block_equals_torchs(
    norm: str, activation: str, padded: bool, precision: str, tokens: tuple[Tensor, Tensor]
) -> None:
    mine, other = tokens
    memory = torch.randn(SCENES, 7, DIM)
    theirs = stirred(
        nn.TransformerDecoderLayer(DIM, HEADS, 4 * DIM, 0.0, activation, batch_first=True, norm_first=norm == "pre")
    ).train()
    ours = DecoderBlock(config(norm=norm, activation=activation))
    copy_attention(ours.attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    copy(ours, theirs, {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2"})
    norms = {"attention_residual": "norm1", "cross_attention_residual": "norm2", "feed_forward_residual": "norm3"}
    copy(ours, theirs, {f"{mine}.norm": other for mine, other in norms.items()})
    mask = CAUSAL & THERE[:, None, None] if padded else CAUSAL
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        found, _ = ours(mine, NOTHING, ours.cross_attention.project_kv(memory), mask)
    expected = theirs(other, memory, tgt_mask=~CAUSAL, tgt_key_padding_mask=~THERE if padded else None)
    assert_same(found, expected, mine, other, precision)
    if precision == "32":
        assert_same(found, expected, ours.cross_attention.out_proj.weight, theirs.multihead_attn.out_proj.weight)


def test_rms_norm_is_its_formula() -> None:
    """Zhang & Sennrich 2019, (4)."""
    residual = stirred(Residual(config(norm_type="rms"), 0.0))
    x = torch.randn(3, 5, DIM)
    gain = residual.get_parameter("norm.weight")
    torch.testing.assert_close(residual.pre(x), x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain)


def test_swiglu_is_its_formula_and_as_large_as_the_layer_it_replaces() -> None:
    """Shazeer 2020, (6)."""
    torch.manual_seed(0)
    layer, x = GatedFeedForward(DIM, 4), torch.randn(3, 5, DIM)
    gate, hidden = (F.linear(x, *part) for part in zip(layer.fc1.weight.chunk(2), layer.fc1.bias.chunk(2), strict=True))
    expected = F.linear(gate * torch.sigmoid(gate) * hidden, layer.fc2.weight, layer.fc2.bias)
    torch.testing.assert_close(layer(x), expected)
    size = sum(weight.numel() for weight in layer.parameters())
    assert size == pytest.approx(8 * DIM**2, rel=0.05)


def test_stochastic_depth_leaves_out_branches_of_whole_scenes() -> None:
    torch.manual_seed(0)
    residual, x, found = Residual(config(), 0.25), torch.zeros(4000, 2, DIM), torch.ones(4000, 2, DIM)
    left = residual.train().post(x, found)
    assert left.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (left == left[:, :1, :1]).all()
    assert (left == 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(residual.eval().post(x, found), found)
    assert drop_path_rates(config(drop_path=0.4), 4) == pytest.approx([0.1, 0.2, 0.3, 0.4])
