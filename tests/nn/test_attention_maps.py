"""Attention to look at."""

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
def test_every_attention_shows_where_it_looks(name: str) -> None:
    model = stirred(nn.build(MODELS[name], SPEC), 0.3)
    images = torch.rand(3, 1, 56, 56)
    before = model.read(images)
    maps = nn.compute_attention_maps(model, images)
    assert list(maps) == [place for place, part in model.named_modules() if isinstance(part, Attention)]
    heads = MODELS[name].num_heads
    for place, weights in maps.items():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        if place.endswith("cross_attention"):
            assert weights.shape == (3, heads, 5, 16)
        elif place.startswith("decoder"):
            assert weights.shape == (3, heads, 5, 5)
            assert (weights.triu(1) == 0).all()
        else:
            assert weights.shape[:2] == (3, heads)
            assert weights.shape[2] == weights.shape[3] >= 16
    assert not any(part._forward_hooks for part in model.modules()), "the ordinary path is left as it was"
    assert torch.equal(model.read(images).score, before.score)


def test_maps_are_of_what_was_read() -> None:
    model, images, seen = stirred(nn.build(MODELS["enc_dec"], SPEC), 0.3), torch.rand(3, 1, 56, 56), []
    model.register_forward_pre_hook(lambda model, args: seen.append(args[1]))
    nn.compute_attention_maps(model, images)
    (tokens,) = seen
    assert (tokens[:, 0] == BOS).all()
    assert decode(tokens) == decode(model.read(images).digits)


def test_attention_without_preference_is_even() -> None:
    model = stirred(nn.build(MODELS["rotary"], SPEC), 0.3)
    attention = model.get_submodule("decoder.0.cross_attention")
    assert isinstance(attention, Attention)
    attention.q_proj.weight.data.zero_()
    attention.q_proj.bias.data.zero_()
    maps = nn.compute_attention_maps(model, torch.rand(2, 1, 56, 56))
    torch.testing.assert_close(maps["decoder.0.cross_attention"], torch.full((2, 2, 5, 16), 1 / 16))


@pytest.mark.parametrize("name", ["enc_dec", "classifier", "cls", "mean"])
@pytest.mark.parametrize("side", [56, 64])
def test_each_pixel_has_the_weight_of_its_patch(name: str, side: int) -> None:
    """Also where patches of 14 reach beyond a canvas of 64."""
    model = stirred(nn.build(MODELS[name], Spec(side, side, 4, (2, 2))), 0.3)
    images = torch.rand(2, 1, side, side)
    found, maps = attention_on_image(model, images), nn.compute_attention_maps(model, images)
    reads_off = [it for it in maps if "cross" in it or (name in ("classifier", "cls") and it.startswith("encoder"))]
    assert list(found) == reads_off
    cols = -(-side // 14)
    for place, pixels in found.items():
        weights = maps[place] if "cross" in place else maps[place][:, :, : -(cols**2), -(cols**2) :]
        assert pixels.shape == (*weights.shape[:3], side, side)
        for y, x in ((0, 0), (13, 14), (side - 1, side - 1), (28, 41)):
            assert torch.equal(pixels[..., y, x], weights[..., (y // 14) * cols + x // 14])


def test_maps_of_another_reading_are_of_that_reading() -> None:
    model, images = stirred(nn.build(MODELS["enc_dec"], SPEC), 0.3), torch.rand(1, 1, 56, 56)
    told = torch.tensor([[3, 1, PAD, PAD]])
    other = nn.compute_attention_maps(model, images, told)["decoder.0.cross_attention"]
    assert not torch.equal(
        other[:, :, 1], nn.compute_attention_maps(model, images, told + 1)["decoder.0.cross_attention"][:, :, 1]
    )
    assert torch.equal(other[:, :, 0], nn.compute_attention_maps(model, images)["decoder.0.cross_attention"][:, :, 0])
