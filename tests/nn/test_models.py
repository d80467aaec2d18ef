"""What must hold for every built-in model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mnist_seq
from mnist_seq import nn
from mnist_seq.config import ClassifierConfig, EncoderDecoderConfig, LossConfig, Spec
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.nn.losses import compute_loss
from mnist_seq.vocabulary import BOS
from tests.conftest import stirred, tiny_models
from tests.nn.test_blocks import copy, copy_attention

SPEC = Spec(56, 56, 4, (2, 2))
MODELS = tiny_models()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 56, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_prediction_never_depends_on_the_batch(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(MODELS[name], SPEC))
    batch = model.read(images)
    for row in range(len(images)):
        alone = model.read(images[row : row + 1])
        assert torch.equal(alone.digits[0], batch.digits[row])
        torch.testing.assert_close(alone.confidence[0], batch.confidence[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_uint8_and_float_images_give_the_same_embedding(name: str, grids: SyntheticDataset) -> None:
    model, images = stirred(nn.build(MODELS[name], SPEC)), grids[:3].images
    torch.testing.assert_close(model.embed(images), model.embed(images / 255))


@pytest.mark.parametrize("name", MODELS)
def test_canvas_is_padded_with_background_to_whole_patches(name: str, images: torch.Tensor) -> None:
    uneven = type(MODELS[name])(**{**vars(MODELS[name]), "patch_size": 24})
    model = stirred(nn.build(uneven, SPEC))
    wide = stirred(nn.build(uneven, Spec(72, 72, 4, (2, 2))))
    wide.load_state_dict(model.state_dict())
    padded = torch.nn.functional.pad(images, (0, 16, 0, 16))
    torch.testing.assert_close(model.embed(images), wide.embed(padded))


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_off_in_eval_and_on_in_training(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(type(MODELS[name])(**{**vars(MODELS[name]), "dropout": 0.5}), SPEC))
    tokens = (torch.full((len(images), 5), BOS),) if model.output_type == "sequence" else ()
    torch.testing.assert_close(model(images, *tokens), model(images, *tokens), atol=0, rtol=0)
    model.train()
    assert not torch.allclose(model(images, *tokens), model(images, *tokens))
    assert not torch.allclose(model.embed(images), model.embed(images))


def test_tiny_preset_has_less_than_100_000_parameters() -> None:
    module, _ = mnist_seq.build("model=tiny", "data=grid", "data.digits=uci")
    assert sum(weight.numel() for weight in module.parameters()) < 100_000


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name: str, grids: SyntheticDataset) -> None:
    """Once the residual branches are no longer zero."""
    model, batch = stirred(nn.build(MODELS[name], SPEC)).train(), grids[:8]
    compute_loss(model, batch, LossConfig()).loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_encoder_equals_transformer_encoder_of_torch(norm: str, images: torch.Tensor) -> None:
    """A pre-norm encoder ends in a norm; a post-norm one in that of its last block."""
    config = replace(MODELS["classifier"], norm=norm, encoder_depth=3)
    ours = stirred(nn.encoder.Encoder(config, SPEC))
    prototype = torch.nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=norm == "pre")
    final_norm = torch.nn.LayerNorm(16) if norm == "pre" else None
    theirs = torch.nn.TransformerEncoder(prototype, 3, final_norm, enable_nested_tensor=False).eval()
    for block, layer in zip(ours.blocks, theirs.layers, strict=True):
        copy_attention(block.attention, layer.self_attn)
        copy(block, layer, {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2"})
        copy(block, layer, {"attention_residual.norm": "norm1", "feed_forward_residual.norm": "norm2"})
    if final_norm is not None:
        final_norm.load_state_dict(ours.norm.state_dict())
    torch.testing.assert_close(ours(images), theirs(ours.pos_embed(ours.patch_embed(images))), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("patch", "depth", "layers"),
    [
        (12, 2, [(1, 8, 2), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 16, 3)]),
        (8, 1, [(1, 8, 2), (8, 16, 2), (16, 16, 2), (16, 16, 1)]),
        (7, 2, [(1, 8, 1), (8, 8, 1), (8, 16, 7)]),
    ],
)
def test_conv_stem_halves_the_resolution_and_doubles_the_channels(
    patch: int, depth: int, layers: list[tuple[int, int, int]]
) -> None:
    """Input channels, output channels and stride of each layer; at most `dim`=16 channels."""
    stem = nn.patch_embed.ConvStem(replace(MODELS["conv_stem"], patch_size=patch, stem_width=8, stem_depth=depth))
    convolutions = [layer for layer in stem.layers if isinstance(layer, torch.nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels, conv.stride[0]) for conv in convolutions] == layers
    strides: list[int] = []
    for conv in convolutions:
        conv.register_forward_pre_hook(lambda _, inputs: strides.append(inputs[0].stride(1)))
    patches = stem(torch.zeros(2, 1, 2 * patch, 3 * patch))
    assert patches.shape == (2, 6, 16)
    assert set(strides) == {1}, "channels last, which is faster"
    assert patches.is_contiguous()


@pytest.mark.parametrize("name", ["enc_dec", "classifier"])
def test_logits_are_float32_under_autocast(name: str, images: torch.Tensor) -> None:
    """In bfloat16, logits of 8 to 16 are multiples of 1/16, so that close ones would be equal."""
    model = nn.build(MODELS[name], SPEC)
    inputs = (images, torch.full((len(images), 1), BOS)) if model.output_type == "sequence" else (images,)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(*inputs).dtype == torch.float32


def test_untrained_classifier_predicts_from_its_class_tokens_alone(images: torch.Tensor) -> None:
    """Residual branches start at zero, so nothing of the image reaches the class tokens."""
    model = nn.build(MODELS["classifier"], SPEC).eval()
    tokens = model.encoder.norm(model.encoder.class_tokens)
    torch.testing.assert_close(model(images), model.head(tokens).expand(len(images), -1, -1))


def test_choices_of_the_config_are_those_that_are_implemented() -> None:
    from mnist_seq.config import model as choices
    from mnist_seq.nn import blocks, classifier, patch_embed, positions

    used = {value for config in MODELS.values() for value in vars(config).values() if isinstance(value, str)}
    for allowed, implemented in (
        (choices.MODEL_CONFIGS, nn.MODELS),
        (choices.NORMS, blocks.RESIDUALS),
        (choices.NORM_TYPES, blocks.NORM_TYPES),
        (choices.ACTIVATIONS, blocks.FEED_FORWARDS),
        (choices.POS_EMBEDS, positions.POS_EMBEDS),
        (choices.STEMS, patch_embed.STEMS),
        (choices.POOLINGS, classifier.POOLINGS),
    ):
        assert set(allowed) == set(implemented)
        assert allowed is choices.MODEL_CONFIGS or set(allowed) <= used, "tiny_models lacks a choice"


def test_errors_name_the_key_and_the_way_out(images: torch.Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"model.patch_size=64 is larger than the 56x56 image: choose at most model.patch_size=56"
    ):
        nn.build(ClassifierConfig(patch_size=64), SPEC)
    with pytest.raises(ValueError, match=r"\(6, 1, 56, 56\)"):
        nn.build(EncoderDecoderConfig(), Spec(28, 28, 1, (1, 1))).embed(images)
