"""Attention maps: all layers and heads, of the prediction that the model makes."""

from __future__ import annotations

import pytest
import torch

from mnist_seq import nn
from mnist_seq.config import Spec
from mnist_seq.nn.attention import Attention
from mnist_seq.nn.attention_maps import attention_on_image
from mnist_seq.vocabulary import BOS, PAD, decode
from tests.conftest import stirred, tiny_models

SPEC = Spec(56, 56, 4, (2, 2))
MODELS = tiny_models()


@pytest.mark.parametrize("name", MODELS)
def test_maps_are_distributions_of_every_layer_and_leave_the_model_unchanged(name: str) -> None:
    model = stirred(nn.build(MODELS[name], SPEC), 0.3)
    images = torch.rand(3, 1, 56, 56)
    before = model.read(images)
    maps = nn.compute_attention_maps(model, images)
    assert list(maps) == [key for key, module in model.named_modules() if isinstance(module, Attention)]
    num_heads = MODELS[name].num_heads
    for key, weights in maps.items():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        if key.endswith("cross_attention"):
            assert weights.shape == (3, num_heads, 5, 16)
        elif key.startswith("decoder"):
            assert weights.shape == (3, num_heads, 5, 5)
            assert (weights.triu(1) == 0).all()
        else:
            assert weights.shape[:2] == (3, num_heads)
            assert weights.shape[2] == weights.shape[3] >= 16
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model.read(images).score, before.score)


def test_maps_are_of_the_greedy_prediction() -> None:
    model, images, calls = stirred(nn.build(MODELS["enc_dec"], SPEC), 0.3), torch.rand(3, 1, 56, 56), []
    model.register_forward_pre_hook(lambda model, args: calls.append(args[1]))
    nn.compute_attention_maps(model, images)
    (tokens,) = calls
    assert (tokens[:, 0] == BOS).all()
    assert decode(tokens) == decode(model.read(images).digits)


def test_attention_without_queries_is_uniform() -> None:
    model = stirred(nn.build(MODELS["rotary"], SPEC), 0.3)
    attention = model.get_submodule("decoder.0.cross_attention")
    assert isinstance(attention, Attention)
    attention.q_proj.weight.data.zero_()
    attention.q_proj.bias.data.zero_()
    maps = nn.compute_attention_maps(model, torch.rand(2, 1, 56, 56))
    torch.testing.assert_close(maps["decoder.0.cross_attention"], torch.full((2, 2, 5, 16), 1 / 16))


@pytest.mark.parametrize("name", ["enc_dec", "classifier", "cls", "mean"])
@pytest.mark.parametrize("size", [56, 64])
def test_each_pixel_gets_the_weight_of_its_patch(name: str, size: int) -> None:
    """Also where patches of 14 extend beyond a canvas of 64."""
    model = stirred(nn.build(MODELS[name], Spec(size, size, 4, (2, 2))), 0.3)
    images = torch.rand(2, 1, size, size)
    on_image, maps = attention_on_image(model, images), nn.compute_attention_maps(model, images)
    has_class_tokens = name in ("classifier", "cls")
    assert list(on_image) == [key for key in maps if "cross" in key or (has_class_tokens and key.startswith("encoder"))]
    cols = -(-size // 14)
    for key, pixels in on_image.items():
        weights = maps[key] if "cross" in key else maps[key][:, :, : -(cols**2), -(cols**2) :]
        assert pixels.shape == (*weights.shape[:3], size, size)
        for y, x in ((0, 0), (13, 14), (size - 1, size - 1), (28, 41)):
            assert torch.equal(pixels[..., y, x], weights[..., (y // 14) * cols + x // 14])


def test_maps_of_given_digits_are_of_those_digits() -> None:
    model, images = stirred(nn.build(MODELS["enc_dec"], SPEC), 0.3), torch.rand(1, 1, 56, 56)

    def cross_attention(digits: torch.Tensor | None) -> torch.Tensor:
        return nn.compute_attention_maps(model, images, digits)["decoder.0.cross_attention"]

    digits = torch.tensor([[3, 1, PAD, PAD]])
    other_digits = torch.tensor([[4, 2, PAD, PAD]])
    assert not torch.equal(cross_attention(digits)[:, :, 1], cross_attention(other_digits)[:, :, 1])
    assert torch.equal(cross_attention(digits)[:, :, 0], cross_attention(None)[:, :, 0])
