"""What must be true of every model, and of reading."""

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
def test_a_reading_does_not_depend_on_its_batch(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(MODELS[name], SPEC))
    together = model.read(images)
    for row in range(len(images)):
        alone = model.read(images[row : row + 1])
        assert torch.equal(alone.digits[0], together.digits[row])
        torch.testing.assert_close(alone.confidence[0], together.confidence[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_grey_levels_and_floats_are_the_same_image(name: str, grids: SyntheticDataset) -> None:
    model, images = stirred(nn.build(MODELS[name], SPEC)), grids[:3].images
    torch.testing.assert_close(model.embed(images), model.embed(images / 255))


@pytest.mark.parametrize("name", MODELS)
def test_a_patch_that_does_not_divide_the_canvas_is_padded_with_background(name: str, images: torch.Tensor) -> None:
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


def test_tiny_is_tiny() -> None:
    module, _ = mnist_seq.build("model=tiny", "data=grid", "data.digits=uci")
    assert sum(weight.numel() for weight in module.parameters()) < 100_000


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_again_from_its_card(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(MODELS[name], SPEC))
    again = nn.build_from_card(nn.make_card(model)).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.read(images).digits, model.read(images).digits)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name: str, grids: SyntheticDataset) -> None:
    """No parameter is left out of the graph once residual branches are no longer silent."""
    model, batch = stirred(nn.build(MODELS[name], SPEC)).train(), grids[:8]
    compute_loss(model, batch, LossConfig()).loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_encoder_equals_torchs_stack(norm: str, images: torch.Tensor) -> None:
    """Pre-norm stacks end in a norm, post-norm ones in their last block's."""
    config = replace(MODELS["classifier"], norm=norm, encoder_depth=3)
    ours = stirred(nn.encoder.Encoder(config, SPEC))
    layer = torch.nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=norm == "pre")
    last = torch.nn.LayerNorm(16) if norm == "pre" else None
    theirs = torch.nn.TransformerEncoder(layer, 3, last, enable_nested_tensor=False).eval()
    for mine, other in zip(ours.blocks, theirs.layers, strict=True):
        copy_attention(mine.attention, other.self_attn)
        copy(mine, other, {"feed_forward.fc1": "linear1", "feed_forward.fc2": "linear2"})
        copy(mine, other, {"attention_residual.norm": "norm1", "feed_forward_residual.norm": "norm2"})
    if last is not None:
        last.load_state_dict(ours.norm.state_dict())
    torch.testing.assert_close(ours(images), theirs(ours.pos_embed(ours.patch_embed(images))), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("patch", "depth", "layers"),
    [
        (12, 2, [(1, 8, 2), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 16, 3)]),
        (8, 1, [(1, 8, 2), (8, 16, 2), (16, 16, 2), (16, 16, 1)]),
        (7, 2, [(1, 8, 1), (8, 8, 1), (8, 16, 7)]),
    ],
)
def test_a_convolutional_stem_halves_and_doubles(patch: int, depth: int, layers: list[tuple[int, int, int]]) -> None:
    """Channels in and out and stride of each layer; channels are no more than the model's width, here 16."""
    stem = nn.patch_embed.ConvStem(replace(MODELS["conv_stem"], patch_size=patch, stem_width=8, stem_depth=depth))
    convolutions = [each for each in stem.layers if isinstance(each, torch.nn.Conv2d)]
    assert [(each.in_channels, each.out_channels, each.stride[0]) for each in convolutions] == layers
    assert stem(torch.zeros(2, 1, 2 * patch, 3 * patch)).shape == (2, 6, 16)


def test_before_any_learning_a_class_token_is_itself(images: torch.Tensor) -> None:
    """Residual branches begin silent, so the heads see their class tokens and nothing of the image."""
    model = nn.build(MODELS["classifier"], SPEC).eval()
    tokens = model.encoder.norm(model.encoder.class_tokens)
    torch.testing.assert_close(model(images), model.head(tokens).expand(len(images), -1, -1))


def test_what_a_config_may_choose_is_what_there_is() -> None:
    from mnist_seq.config import model as chosen
    from mnist_seq.nn import blocks, classifier, patch_embed, positions

    for known, there in (
        (chosen.NORMS, blocks.RESIDUALS),
        (chosen.NORM_TYPES, blocks.NORM_TYPES),
        (chosen.ACTIVATIONS, blocks.FEED_FORWARDS),
        (chosen.POS_EMBEDS, positions.POS_EMBEDS),
        (chosen.STEMS, patch_embed.STEMS),
        (chosen.POOLINGS, classifier.POOLINGS),
        (chosen.MODEL_CONFIGS, nn.MODELS),
    ):
        assert set(known) == set(there)
    used = {value for config in MODELS.values() for value in vars(config).values() if isinstance(value, str)}
    unused = {it for known in chosen._CHOICES.values() for it in known} - used
    assert not unused, "every part is in one of tiny_models"


def test_errors_name_the_key_and_the_way_out(images: torch.Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"model.patch_size=64 is larger than the 56x56 image: choose at most model.patch_size=56"
    ):
        nn.build(ClassifierConfig(patch_size=64), SPEC)
    with pytest.raises(ValueError, match=r"\(6, 1, 56, 56\)"):
        nn.build(EncoderDecoderConfig(), Spec(28, 28, 1, (1, 1))).embed(images)
    with pytest.raises(ValueError, match="another vocabulary"):
        nn.build_from_card({"model": {}, "spec": {}, "vocabulary": ["a"]})
