"""Blocks against torch's own layers and against their formulas: same weights, same outputs, same gradients."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig
from mnist_seq.nn import attention as attention_module
from mnist_seq.nn.attention import Attention, KeyValue, attend, attention_weights
from mnist_seq.nn.attention_maps import record_attention
from mnist_seq.nn.blocks import DecoderBlock, EncoderBlock, GatedFeedForward, Residual
from mnist_seq.nn.positions import RotaryEmbedding
from tests.conftest import stirred

DIM, HEADS, BATCH, TOKENS = 24, 3, 4, 5
EMPTY_KV = KeyValue(torch.zeros(BATCH, HEADS, 0, DIM // HEADS), torch.zeros(BATCH, HEADS, 0, DIM // HEADS))
CAUSAL = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
NOT_PADDING = torch.arange(TOKENS) < torch.tensor([[5], [3], [1], [4]])
"""BATCH TOKENS."""
VARIANTS = list(product(["pre", "post"], ["relu", "gelu"]))
PRECISIONS = {"32": (1e-5, 1e-5), "bf16": (4e-2, 1e-1)}
"""Tolerance of outputs and of gradients; bf16 keeps 8 bits of these values of order 1."""


@pytest.fixture(params=["formula", "kernel"])
def attention_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with the formula of attention, as a CPU does on short sequences, or with torch's kernel."""
    if request.param == "kernel":
        monkeypatch.setattr(attention_module, "_MAX_STORED_WEIGHTS", 0)


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    """Copy weights: torch stacks the projections of queries, keys and values, ours has one for queries alone."""
    for name, stacked in (("weight", theirs.in_proj_weight), ("bias", theirs.in_proj_bias)):
        query, *key_value = stacked.chunk(3)
        getattr(ours.q_proj, name).data.copy_(query)
        getattr(ours.kv_proj, name).data.copy_(torch.cat(key_value))
    ours.out_proj.load_state_dict(theirs.out_proj.state_dict())


def copy(ours: nn.Module, theirs: nn.Module, pairs: dict[str, str]) -> None:
    """Copy the weights of submodules; `pairs` maps our names to theirs."""
    for our_name, their_name in pairs.items():
        ours.get_submodule(our_name).load_state_dict(theirs.get_submodule(their_name).state_dict())


def assert_same(ours: Tensor, theirs: Tensor, our_leaf: Tensor, their_leaf: Tensor, precision: str = "32") -> None:
    """Compare outputs, and their gradients with respect to a leaf: an input or a weight."""
    output_tolerance, grad_tolerance = PRECISIONS[precision]
    torch.testing.assert_close(ours.float(), theirs.float(), atol=output_tolerance, rtol=output_tolerance)
    weight = torch.linspace(-1, 1, ours.numel()).view(ours.shape)
    pairs = ((ours, our_leaf), (theirs, their_leaf))
    grads = [torch.autograd.grad((out * weight).sum(), leaf, retain_graph=True)[0] for out, leaf in pairs]
    torch.testing.assert_close(*grads, atol=grad_tolerance, rtol=grad_tolerance)


def config(**changes: object) -> EncoderConfig:
    return EncoderConfig(**({"dim": DIM, "num_heads": HEADS} | changes))  # type: ignore[arg-type]


@pytest.fixture
def tokens() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(BATCH, TOKENS, DIM)
    return x.clone().requires_grad_(), x.clone().requires_grad_()


@pytest.mark.usefixtures("attention_path")
@pytest.mark.parametrize("head_dim", [8, 4, 12])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_attention_is_softmax_of_scaled_products(head_dim: int, precision: str) -> None:
    torch.manual_seed(0)
    attention = Attention(DIM, HEADS, head_dim)
    x, context = torch.randn(2, 5, DIM, requires_grad=True), torch.randn(2, 7, DIM)
    mask = torch.rand(5, 7) > 0.3
    mask[:, 0] = True
    x_copy = x.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        kv = attention.project_kv(context)
        queries = attention.q_proj(x_copy).view(2, 5, HEADS, -1).transpose(1, 2)
        scores = (queries @ kv.keys.transpose(-1, -2) / head_dim**0.5).masked_fill(~mask, -torch.inf)
        expected = attention.out_proj((scores.softmax(-1) @ kv.values).transpose(1, 2).reshape(2, 5, DIM))
        out = attention(x, kv, mask)
    assert_same(out, expected, x, x_copy, precision)


@pytest.mark.usefixtures("attention_path")
def test_bfloat16_attention_on_a_cpu_is_float32_attention_rounded_once() -> None:
    torch.manual_seed(0)
    queries, keys, values = torch.randn(3, BATCH, HEADS, TOKENS, DIM // HEADS).bfloat16()
    expected = attend(queries.float(), KeyValue(keys.float(), values.float()), CAUSAL)
    kernel = F.scaled_dot_product_attention(queries.float(), keys.float(), values.float(), attn_mask=CAUSAL)
    torch.testing.assert_close(expected, kernel)
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(queries, KeyValue(keys, values), CAUSAL)
        rotated = attend(queries.float(), KeyValue(keys.float(), values), CAUSAL)  # rotations are in float32
    assert torch.equal(out, expected.bfloat16())
    assert torch.equal(rotated, expected.bfloat16())


def test_a_cpu_trains_on_short_sequences_by_the_formula_and_does_all_else_with_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel, calls = F.scaled_dot_product_attention, list[int]()
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or kernel(*a, **k))
    short, long = torch.randn(1, 1, 50, 8), torch.randn(1, 1, 51, 8)
    attend(short, KeyValue(short, short))
    assert not calls
    attend(long, KeyValue(long, long))
    assert len(calls) == 1
    with torch.no_grad():
        attend(short, KeyValue(short, short))
    assert len(calls) == 2


@pytest.mark.usefixtures("attention_path")
def test_float64_attention_keeps_full_precision() -> None:
    queries, keys, values = torch.randn(3, BATCH, HEADS, TOKENS, DIM // HEADS, dtype=torch.float64)
    expected = (queries @ keys.mT / (DIM // HEADS) ** 0.5).softmax(-1) @ values
    torch.testing.assert_close(attend(queries, KeyValue(keys, values)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("attention_path")
def test_attention_weights_are_those_that_forward_uses() -> None:
    torch.manual_seed(0)
    attention, x = Attention(DIM, HEADS, 12), torch.randn(BATCH, TOKENS, DIM)
    rope = RotaryEmbedding((TOKENS,), DIM, 12).rope()
    kv = attention.project_kv(x, rope)
    weights = attention_weights(attention.project_q(x, rope), kv.keys, CAUSAL)
    torch.testing.assert_close(weights.sum(-1), torch.ones(BATCH, HEADS, TOKENS))
    assert (weights.masked_select(~CAUSAL) == 0).all()
    out = attention.out_proj((weights @ kv.values).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(out, attention(x, kv, CAUSAL, rope), atol=1e-6, rtol=1e-5)


def test_recorded_weights_are_the_same_for_arguments_by_position_and_by_name() -> None:
    torch.manual_seed(0)
    attention, x = Attention(DIM, HEADS, 8), torch.randn(BATCH, TOKENS, DIM)
    rope = RotaryEmbedding((TOKENS,), DIM, 8).rope()
    kv = attention.project_kv(x, rope)
    with record_attention(attention) as maps:
        attention(x, kv, CAUSAL, rope)
        positional = maps[""]
        attention(x, kv=kv, rope=rope, mask=CAUSAL)
    assert torch.equal(maps[""], positional)
    assert torch.equal(positional, attention_weights(attention.project_q(x, rope), kv.keys, CAUSAL))


def test_queries_and_keys_are_rotated_and_values_are_not() -> None:
    torch.manual_seed(0)
    attention, x = Attention(DIM, HEADS, 8), torch.randn(BATCH, TOKENS, DIM)
    rope = RotaryEmbedding((TOKENS,), DIM, 8).rope()
    plain, rotated = attention.project_kv(x), attention.project_kv(x, rope)
    assert torch.equal(rotated.values, plain.values)
    torch.testing.assert_close(rotated.keys, rope(plain.keys))
    torch.testing.assert_close(attention.project_q(x, rope), rope(attention.project_q(x)))
    scores = rope(attention.project_q(x)) @ rope(plain.keys).mT / 8**0.5
    expected = attention.out_proj((scores.softmax(-1) @ plain.values).transpose(1, 2).flatten(-2))
    torch.testing.assert_close(attention(x, rotated, rope=rope), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("attention_path")
def test_attention_equals_multihead_attention_of_torch(tokens: tuple[Tensor, Tensor]) -> None:
    our_x, their_x = tokens
    theirs = stirred(nn.MultiheadAttention(DIM, HEADS, batch_first=True))
    ours = Attention(DIM, HEADS, DIM // HEADS)
    copy_attention(ours, theirs)
    expected = theirs(their_x, their_x, their_x, need_weights=False)[0]
    assert_same(ours(our_x, ours.project_kv(our_x)), expected, our_x, their_x)


@pytest.mark.usefixtures("attention_path")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("norm", "activation"), VARIANTS)
def test_encoder_block_equals_transformer_encoder_layer_of_torch(
    norm: str, activation: str, padded: bool, precision: str, tokens: tuple[Tensor, Tensor]
) -> None:
    our_x, their_x = tokens
    theirs = stirred(
        nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, 0.0, activation, batch_first=True, norm_first=norm == "pre")
    ).train()
    ours = EncoderBlock(config(norm=norm, activation=activation))
    copy_attention(ours.attention, theirs.self_attn)
    copy(ours, theirs, {"attention_residual.norm": "norm1", "feed_forward_residual.norm": "norm2"})
    copy(ours, theirs, {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2"})
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = ours(our_x, NOT_PADDING[:, None, None] if padded else None)
    expected = theirs(their_x, src_key_padding_mask=~NOT_PADDING if padded else None)
    assert_same(out, expected, our_x, their_x, precision)
    if precision == "32":
        assert_same(out, expected, ours.feed_forward.fc1.weight, theirs.linear1.weight)
        assert_same(out, expected, ours.attention_residual.norm.weight, theirs.norm1.weight)


@pytest.mark.usefixtures("attention_path")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("norm", "activation"), VARIANTS)
def test_decoder_block_equals_transformer_decoder_layer_of_torch(
    norm: str, activation: str, padded: bool, precision: str, tokens: tuple[Tensor, Tensor]
) -> None:
    our_x, their_x = tokens
    memory = torch.randn(BATCH, 7, DIM)
    theirs = stirred(
        nn.TransformerDecoderLayer(DIM, HEADS, 4 * DIM, 0.0, activation, batch_first=True, norm_first=norm == "pre")
    ).train()
    ours = DecoderBlock(config(norm=norm, activation=activation))
    copy_attention(ours.attention, theirs.self_attn)
    copy_attention(ours.cross_attention, theirs.multihead_attn)
    copy(ours, theirs, {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2"})
    norms = {"attention_residual": "norm1", "cross_attention_residual": "norm2", "feed_forward_residual": "norm3"}
    copy(ours, theirs, {f"{our_name}.norm": their_name for our_name, their_name in norms.items()})
    mask = CAUSAL & NOT_PADDING[:, None, None] if padded else CAUSAL
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out, _ = ours(our_x, EMPTY_KV, ours.cross_attention.project_kv(memory), mask)
    expected = theirs(their_x, memory, tgt_mask=~CAUSAL, tgt_key_padding_mask=~NOT_PADDING if padded else None)
    assert_same(out, expected, our_x, their_x, precision)
    if precision == "32":
        assert_same(out, expected, ours.cross_attention.out_proj.weight, theirs.multihead_attn.out_proj.weight)


def test_rms_norm_follows_its_formula() -> None:
    """Zhang & Sennrich 2019, (4)."""
    residual = stirred(Residual(config(norm_type="rms")))
    x = torch.randn(3, 5, DIM)
    gain = residual.get_parameter("norm.weight")
    torch.testing.assert_close(residual.pre(x), x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain)


def test_swiglu_follows_its_formula_and_has_the_size_of_the_layer_it_replaces() -> None:
    """Shazeer 2020, (6)."""
    torch.manual_seed(0)
    layer, x = GatedFeedForward(DIM, 4), torch.randn(3, 5, DIM)
    gate, hidden = (F.linear(x, *part) for part in zip(layer.fc1.weight.chunk(2), layer.fc1.bias.chunk(2), strict=True))
    expected = F.linear(gate * torch.sigmoid(gate) * hidden, layer.fc2.weight, layer.fc2.bias)
    torch.testing.assert_close(layer(x), expected)
    size = sum(weight.numel() for weight in layer.parameters())
    assert size == pytest.approx(8 * DIM**2, rel=0.05)
