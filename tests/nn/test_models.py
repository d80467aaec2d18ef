"""What must be true of every model, and of reading."""

from __future__ import annotations

import pytest
import torch

from mnist_seq import nn
from mnist_seq.config import ClassifierConfig, EncoderDecoderConfig, Spec
from mnist_seq.data.sets import Synthesised
from mnist_seq.nn import EncoderDecoder, decoding
from mnist_seq.tokens import BOS, DIGITS, EMPTY, EOS, PAD
from tests.conftest import stirred, tiny_models

SPEC = Spec(56, 56, 4, (2, 2))
MODELS = tiny_models()


@pytest.fixture
def writer() -> EncoderDecoder:
    torch.manual_seed(0)
    model = stirred(EncoderDecoder(MODELS["enc_dec"], SPEC))
    assert isinstance(model, EncoderDecoder)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(6, 1, 56, 56, generator=torch.Generator().manual_seed(1))


def test_cached_logits_equal_uncached_ones(writer: EncoderDecoder, images: torch.Tensor) -> None:
    tokens = torch.randint(0, DIGITS, (6, 5))
    tokens[:, 0] = BOS
    at_once = writer(images, tokens)
    for cuts in ([1, 1, 1, 1, 1], [2, 3], [4, 1]):
        cache, pieces = writer.start(images), []
        for piece in tokens.split(cuts, 1):
            logits, cache = writer.step(piece, cache)
            pieces.append(logits)
        torch.testing.assert_close(torch.cat(pieces, 1), at_once, atol=1e-5, rtol=1e-4)


def test_later_tokens_never_change_earlier_logits(writer: EncoderDecoder, images: torch.Tensor) -> None:
    tokens = torch.randint(0, DIGITS, (6, 5))
    before = writer(images, tokens)
    for place in range(1, 5):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % DIGITS
        after = writer(images, changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-6, rtol=1e-5)
        assert not torch.allclose(after[:, place], before[:, place])


@torch.no_grad()
def test_greedy_reading_is_the_likeliest_token_again_and_again(images: torch.Tensor) -> None:
    """Against a plain loop, image by image, without a cache; several lengths come up."""
    torch.manual_seed(0)
    writer = stirred(EncoderDecoder(MODELS["enc_dec"], SPEC), scale=0.5)
    writer.to_logits.bias[EOS] += 0.5
    readout = writer.read(images)
    lengths = set()
    for row, image in enumerate(images):
        tokens, logs, ended = [BOS], [], False
        while len(tokens) <= SPEC.max_digits + 1 and not ended:
            logits = writer(image[None], torch.tensor([tokens]))[0, -1].clone()
            logits[[PAD, BOS]] = -torch.inf
            best, token = logits.log_softmax(-1).max(-1)
            tokens, logs, ended = [*tokens, int(token)], [*logs, float(best)], int(token) == EOS
        read = [token for token in tokens[1:] if token < DIGITS][: SPEC.max_digits]
        lengths.add(len(read))
        assert readout.digits[row].tolist() == read + [PAD] * (SPEC.max_digits - len(read))
        assert bool(readout.ended[row]) == ended
        assert float(readout.confidence[row]) == pytest.approx(float(torch.tensor(logs).sum().exp()), rel=1e-3)
        expected = torch.tensor(logs[: len(read)]).exp().tolist() + [1.0] * (SPEC.max_digits - len(read))
        assert readout.probability[row].tolist() == pytest.approx(expected, rel=1e-3)
    assert len(lengths) > 1


@pytest.mark.parametrize("name", MODELS)
def test_a_reading_does_not_depend_on_its_batch(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(MODELS[name], SPEC))
    together = model.read(images)
    for row in range(len(images)):
        alone = model.read(images[row : row + 1])
        assert torch.equal(alone.digits[0], together.digits[row])
        torch.testing.assert_close(alone.confidence[0], together.confidence[row], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_grey_levels_and_floats_are_the_same_image(name: str, grids: Synthesised) -> None:
    model, images = stirred(nn.build(MODELS[name], SPEC)), grids[:3].images
    torch.testing.assert_close(model.embed(images), model.embed(images / 255))


@pytest.mark.parametrize("name", MODELS)
def test_a_patch_that_does_not_divide_the_canvas_is_padded_with_background(name: str, images: torch.Tensor) -> None:
    uneven = type(MODELS[name])(**{**vars(MODELS[name]), "patch": 24})
    model = stirred(nn.build(uneven, SPEC))
    wide = stirred(nn.build(uneven, Spec(72, 72, 4, (2, 2))))
    wide.load_state_dict(model.state_dict())
    padded = torch.nn.functional.pad(images, (0, 16, 0, 16))
    torch.testing.assert_close(model.embed(images), wide.embed(padded))


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_off_in_eval_and_on_in_training(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(type(MODELS[name])(**{**vars(MODELS[name]), "dropout": 0.5}), SPEC))
    torch.testing.assert_close(model.embed(images), model.embed(images), atol=0, rtol=0)
    model.train()
    assert not torch.allclose(model.embed(images), model.embed(images))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_again_from_its_card(name: str, images: torch.Tensor) -> None:
    model = stirred(nn.build(MODELS[name], SPEC))
    again = nn.from_card(nn.card(model)).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.read(images).digits, model.read(images).digits)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_learns(name: str, grids: Synthesised) -> None:
    """No parameter is left out of the graph once residual branches are no longer silent."""
    from mnist_seq.learn.losses import LOSSES

    model, batch = stirred(nn.build(MODELS[name], SPEC)).train(), grids[:8]
    LOSSES[name](model, batch, 0.1).loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_errors_name_the_key_and_the_way_out(images: torch.Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"model.patch=64 is larger than the 56x56 image: choose at most model.patch=56"
    ):
        nn.build(ClassifierConfig(patch=64), SPEC)
    with pytest.raises(ValueError, match=r"\(6, 1, 56, 56\)"):
        nn.build(EncoderDecoderConfig(), Spec(28, 28, 1, (1, 1))).embed(images)
    with pytest.raises(ValueError, match="another vocabulary"):
        nn.from_card({"model": {}, "spec": {}, "vocabulary": ["a"]})


def test_cells_are_read_in_raster_order_without_the_empty_ones() -> None:
    logits = torch.full((2, 4, EMPTY + 1), -20.0)
    for cell, digit in enumerate([7, EMPTY, 3, EMPTY]):
        logits[0, cell, digit] = 20
    logits[1, :, EMPTY] = 20
    readout = decoding.by_cells(logits)
    assert readout.digits.tolist() == [[7, 3, PAD, PAD], [PAD] * 4]
    assert readout.cells is not None
    assert readout.cells.tolist() == [[7, EMPTY, 3, EMPTY], [EMPTY] * 4]
    assert readout.ended.all()
    torch.testing.assert_close(readout.confidence, torch.ones(2))
