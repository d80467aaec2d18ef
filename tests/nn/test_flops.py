"""Costs of models against arithmetic by hand."""

from __future__ import annotations

import pytest
import torch

from mnist_seq import nn
from mnist_seq.config import ClassifierConfig, EncoderDecoderConfig, Spec
from mnist_seq.nn.blocks import FEED_FORWARDS
from mnist_seq.nn.flops import costs_per_scene, module_costs
from tests.conftest import tiny_models

SPEC = Spec(56, 56, 4, (2, 2))
MODELS = tiny_models()


def attention(queries: int, keys: int, dim: int) -> int:
    """FLOPs of the projections of queries, keys and values, the scores, the weighted sums and the output projection."""
    return 2 * (queries * dim * dim + 2 * keys * dim * dim + 2 * queries * keys * dim + queries * dim * dim)


def feed_forward(tokens: int, dim: int, ratio: int) -> int:
    return 2 * 2 * tokens * dim * ratio * dim


@pytest.mark.parametrize(("dim", "heads", "depths", "patch"), [(128, 4, (4, 2), 14), (48, 3, (1, 3), 7)])
def test_encoder_decoder_flops_equal_the_formula(dim: int, heads: int, depths: tuple[int, int], patch: int) -> None:
    config = EncoderDecoderConfig(
        dim=dim, num_heads=heads, encoder_depth=depths[0], decoder_depth=depths[1], patch_size=patch
    )
    costs = costs_per_scene(nn.build(config, SPEC))
    patches, tokens = (56 // patch) ** 2, 5
    encoder_block = attention(patches, patches, dim) + feed_forward(patches, dim, 4)
    decoder_block = attention(tokens, tokens, dim) + attention(tokens, patches, dim) + feed_forward(tokens, dim, 4)
    stem, logits = 2 * patches * patch**2 * dim, 2 * tokens * dim * 13
    assert costs["encoder.blocks.0"].flops == encoder_block
    assert costs["decoder.0"].flops == decoder_block
    assert costs[""].flops == stem + depths[0] * encoder_block + depths[1] * decoder_block + logits


def test_classifier_flops_equal_the_formula() -> None:
    costs = costs_per_scene(nn.build(ClassifierConfig(), SPEC))
    block = attention(20, 20, 128) + feed_forward(20, 128, 4)
    assert costs[""].flops == 2 * 16 * 196 * 128 + 4 * block + 2 * 4 * 128 * 11


def test_feed_forward_saves_its_input_and_both_sides_of_its_activation() -> None:
    """A forward pass saves the inputs of both products and of the activation: L D, L 4D and L 4D float32 values."""
    costs = module_costs(FEED_FORWARDS["gelu"](32, 4), torch.zeros(1, 5, 32, requires_grad=True))
    assert costs[""].activation_bytes == 4 * 5 * (32 + 4 * 32 + 4 * 32)


@pytest.mark.parametrize("name", MODELS)
def test_costs_add_up_over_submodules_and_over_scenes(name: str) -> None:
    model = nn.build(MODELS[name], SPEC)
    costs = costs_per_scene(model)
    parts = [costs[child] for child, _ in model.named_children()]
    whole = costs[""]
    assert whole.parameters == sum(weight.numel() for weight in model.parameters())
    assert whole.flops == sum(part.flops for part in parts)
    assert whole.flops > 2 * sum(weight.numel() for key, weight in model.named_parameters() if "blocks" in key)
    images, tokens = torch.zeros(7, 1, 56, 56), torch.zeros(7, 5, dtype=torch.int64)
    batch = module_costs(model, images, tokens) if model.output_type == "sequence" else module_costs(model, images)
    assert batch[""].flops == 7 * whole.flops
    assert 0.9 * 7 * whole.activation_bytes < batch[""].activation_bytes <= 7 * whole.activation_bytes, (
        "shared constants count once per batch"
    )
