"""Greedy decoding, cell predictions and the cache: against plain loops without a cache."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.nn import beam_search, decoding
from mnist_seq.vocabulary import BOS, EMPTY_CELL, EOS, NUM_DIGITS, PAD
from tests.nn.conftest import SEQUENCE_MODELS, SPEC, sequence_model


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", SEQUENCE_MODELS)
@torch.no_grad()
def test_cached_logits_equal_uncached_ones(name: str, precision: str, images: torch.Tensor) -> None:
    """Up to rounding: bf16 keeps 8 bits of logits of order 10."""
    model = sequence_model(name)
    tokens = torch.randint(0, NUM_DIGITS, (12, 5))
    tokens[:, 0] = BOS
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        uncached = model(images, tokens)
        for lengths in ([1, 1, 1, 1, 1], [2, 3], [4, 1]):
            cache, cached = model.start(images), []
            for chunk in tokens.split(lengths, 1):
                logits, cache = model.step(chunk, cache)
                cached.append(logits)
            tolerance = 1e-4 if precision == "32" else 0.15
            torch.testing.assert_close(torch.cat(cached, 1), uncached, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
@torch.no_grad()
def test_later_tokens_never_change_earlier_logits(name: str, images: torch.Tensor) -> None:
    model = sequence_model(name)
    tokens = torch.randint(0, NUM_DIGITS, (12, 5))
    logits = model(images, tokens)
    for i in range(1, 5):
        changed = tokens.clone()
        changed[:, i] = (changed[:, i] + 1) % NUM_DIGITS
        changed_logits = model(images, changed)
        torch.testing.assert_close(changed_logits[:, :i], logits[:, :i], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(changed_logits[:, i], logits[:, i])


@torch.no_grad()
def test_greedy_decoding_takes_the_most_likely_allowed_token_at_each_step(images: torch.Tensor) -> None:
    """Against a plain loop, image by image, without a cache; PAD and BOS, though likely, are never predicted."""
    model = sequence_model()
    model.lm_head.bias.data[[PAD, BOS]] += 3
    output = decoding.greedy(model, images)
    lengths, likeliest = set(), set()
    for row, image in enumerate(images):
        tokens, log_probs = [BOS], []
        while len(tokens) <= SPEC.max_length + 1 and (len(tokens) == 1 or tokens[-1] < NUM_DIGITS):
            logits = model(image[None], torch.tensor([tokens]))[0, -1].clone()
            likeliest.add(int(logits.argmax()))
            logits[[PAD, BOS]] = -torch.inf
            log_prob, token = logits.log_softmax(-1).max(-1)
            tokens, log_probs = [*tokens, int(token)], [*log_probs, float(log_prob)]
        digits = [token for token in tokens[1:] if token < NUM_DIGITS][: SPEC.max_length]
        lengths.add(len(digits))
        assert output.digits[row].tolist() == digits + [PAD] * (SPEC.max_length - len(digits))
        assert bool(output.ended[row]) == (tokens[-1] == EOS)
        assert float(output.score[row]) == pytest.approx(sum(log_probs), rel=1e-3)
        expected = torch.tensor(log_probs[: len(digits)]).exp().tolist() + [1.0] * (SPEC.max_length - len(digits))
        assert output.probs[row].tolist() == pytest.approx(expected, rel=1e-3)
    assert len(lengths) > 1
    assert likeliest & {PAD, BOS}, "otherwise nothing was forbidden"


@torch.no_grad()
def test_decoding_stops_when_every_sequence_has_ended_and_predicts_the_same(
    images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, num_steps = sequence_model(), []
    step = model.step
    monkeypatch.setattr(model, "step", lambda tokens, cache: num_steps.append(1) or step(tokens, cache))
    every = decoding.greedy(model, images)
    lengths = (every.digits < NUM_DIGITS).sum(1)
    assert int(lengths.min()) < SPEC.max_length, "otherwise no image could stop early"
    for row in range(len(images)):
        num_steps.clear()
        alone = decoding.greedy(model, images[row : row + 1])
        assert len(num_steps) == min(int(lengths[row]) + 1, SPEC.max_length + 1)
        assert torch.equal(alone.digits, every.digits[row : row + 1])
        torch.testing.assert_close(alone.log_probs, every.log_probs[row : row + 1])
        torch.testing.assert_close(alone.score, every.score[row : row + 1])


def test_cells_are_listed_in_raster_order_without_empty_ones() -> None:
    logits = torch.full((2, 4, EMPTY_CELL + 1), -20.0)
    for cell, digit in enumerate([7, EMPTY_CELL, 3, EMPTY_CELL]):
        logits[0, cell, digit] = 20
    logits[1, :, EMPTY_CELL] = 20
    output = decoding.by_cells(logits)
    assert output.digits.tolist() == [[7, 3, PAD, PAD], [PAD] * 4]
    assert output.cells is not None
    assert output.cells.tolist() == [[7, EMPTY_CELL, 3, EMPTY_CELL], [EMPTY_CELL] * 4]
    assert output.ended.all()
    torch.testing.assert_close(output.confidence, torch.ones(2))


@pytest.mark.parametrize(
    ("old_name", "value"),
    [
        ("Readout", decoding.DecodeOutput),
        ("Writer", decoding.AutoregressiveModel),
        ("beam", beam_search.beam_search),
    ],
)
def test_old_names_still_work_and_warn(old_name: str, value: object) -> None:
    with pytest.warns(FutureWarning, match=f"decoding.{old_name} is now mnist_seq.nn"):
        assert getattr(decoding, old_name) is value
    with pytest.raises(AttributeError, match="has no attribute 'Reader'"):
        decoding.Reader  # noqa: B018
