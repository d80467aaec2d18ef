"""Reading: greedy, by beams, with and without the cache."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from mnist_seq.config import EncoderDecoderConfig, Spec
from mnist_seq.nn import EncoderDecoder, decoding
from mnist_seq.vocabulary import BOS, EMPTY_CELL, EOS, NUM_DIGITS, PAD, VOCABULARY
from tests.conftest import stirred, tiny_models

SPEC = Spec(56, 56, 4, (2, 2))
WRITERS = {name: config for name, config in tiny_models().items() if isinstance(config, EncoderDecoderConfig)}


def writer(name: str = "enc_dec", spec: Spec = SPEC, scale: float = 0.3) -> EncoderDecoder:
    """One that writes sequences of several lengths."""
    torch.manual_seed(0)
    model = stirred(EncoderDecoder(WRITERS[name], spec), scale)
    assert isinstance(model, EncoderDecoder)
    model.lm_head.bias.data[EOS] += 4
    return model


@pytest.fixture
def images() -> torch.Tensor:
    """From dark to light and with more and more contrast, so that readings differ."""
    noise = torch.rand(12, 1, 56, 56, generator=torch.Generator().manual_seed(1))
    return noise ** torch.linspace(0.1, 8, 12).view(-1, 1, 1, 1)


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", WRITERS)
@torch.no_grad()
def test_cached_logits_equal_uncached_ones(name: str, precision: str, images: torch.Tensor) -> None:
    """To rounding: bf16 keeps 8 bits of logits of order 10."""
    model = writer(name)
    tokens = torch.randint(0, NUM_DIGITS, (12, 5))
    tokens[:, 0] = BOS
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        at_once = model(images, tokens)
        for cuts in ([1, 1, 1, 1, 1], [2, 3], [4, 1]):
            cache, pieces = model.start(images), []
            for piece in tokens.split(cuts, 1):
                logits, cache = model.step(piece, cache)
                pieces.append(logits)
            tolerance = 1e-4 if precision == "32" else 0.15
            torch.testing.assert_close(torch.cat(pieces, 1), at_once, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("name", WRITERS)
@torch.no_grad()
def test_later_tokens_never_change_earlier_logits(name: str, images: torch.Tensor) -> None:
    model = writer(name)
    tokens = torch.randint(0, NUM_DIGITS, (12, 5))
    before = model(images, tokens)
    for place in range(1, 5):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % NUM_DIGITS
        after = model(images, changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(after[:, place], before[:, place])


@pytest.mark.parametrize("constrain", [True, False])
@torch.no_grad()
def test_greedy_reading_is_the_likeliest_token_again_and_again(constrain: bool, images: torch.Tensor) -> None:
    """Against a plain loop, image by image, without a cache; several lengths come up."""
    model = writer()
    if not constrain:
        model.lm_head.bias.data[PAD] += 3
    readout = decoding.greedy(model, images, constrain)
    lengths, stops = set(), set()
    for row, image in enumerate(images):
        tokens, logs = [BOS], []
        while len(tokens) <= SPEC.max_length + 1 and (len(tokens) == 1 or tokens[-1] < NUM_DIGITS):
            logits = model(image[None], torch.tensor([tokens]))[0, -1].clone()
            if constrain:
                logits[[PAD, BOS]] = -torch.inf
            best, token = logits.log_softmax(-1).max(-1)
            tokens, logs = [*tokens, int(token)], [*logs, float(best)]
        read = [token for token in tokens[1:] if token < NUM_DIGITS][: SPEC.max_length]
        lengths.add(len(read))
        stops.add(tokens[-1])
        assert readout.digits[row].tolist() == read + [PAD] * (SPEC.max_length - len(read))
        assert bool(readout.ended[row]) == (tokens[-1] == EOS)
        assert float(readout.score[row]) == pytest.approx(sum(logs), rel=1e-3)
        expected = torch.tensor(logs[: len(read)]).exp().tolist() + [1.0] * (SPEC.max_length - len(read))
        assert readout.probs[row].tolist() == pytest.approx(expected, rel=1e-3)
    assert len(lengths) > 1
    assert (PAD in stops) != constrain


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_one_beam_is_greedy(precision: str, images: torch.Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        one, greedy = decoding.beam_search(writer(), images, 1).best, decoding.greedy(writer(), images)
    assert torch.equal(one.digits, greedy.digits)
    assert torch.equal(one.ended, greedy.ended)
    torch.testing.assert_close(one.score, greedy.score)
    torch.testing.assert_close(one.log_probs, greedy.log_probs)


@pytest.mark.parametrize("constrain", [True, False])
@torch.no_grad()
def test_beams_as_many_as_sequences_find_all_of_them(constrain: bool) -> None:
    """Against a score of every sequence of up to two digits, teacher-forced and so without a cache."""
    spec = Spec(28, 28, 2, (1, 1))
    model, images = writer(spec=spec), torch.rand(3, 1, 28, 28)
    allowed = [token for token in range(len(VOCABULARY)) if not constrain or token not in (PAD, BOS)]
    stops = [token for token in allowed if token >= NUM_DIGITS]
    digits = range(NUM_DIGITS)
    every = [*product(stops), *product(digits, stops), *product(digits, digits, allowed)]
    scores = torch.empty(3, len(every))
    for place, sequence in enumerate(every):
        tokens = torch.tensor([[BOS, *sequence]]).expand(3, -1)
        logits = model(images, tokens[:, :-1])
        if constrain:
            logits[..., [PAD, BOS]] = -torch.inf
        scores[:, place] = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).sum((1, 2))
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3), msg="every sequence was counted")
    width = len(every) + 40  # more than there are
    found = decoding.beam_search(model, images, width, num_return_sequences=width, constrain=constrain)
    best, order = scores.sort(1, descending=True)
    torch.testing.assert_close(found.score[:, :-40], best, atol=1e-4, rtol=1e-4)
    assert (found.score[:, -40:] == -torch.inf).all()
    for image in range(3):
        for rank in range(20):
            sequence = every[order[image, rank]]
            read = [token for token in sequence[:2] if token < NUM_DIGITS]
            assert found.digits[image, rank].tolist() == read + [PAD] * (2 - len(read))
            assert bool(found.ended[image, rank]) == (sequence[-1] == EOS)


def test_more_beams_find_likelier_readings_and_rank_them(images: torch.Tensor) -> None:
    greedy, many = decoding.greedy(writer(), images), decoding.beam_search(writer(), images, 8, num_return_sequences=5)
    assert many.digits.shape == (12, 5, 4)
    assert (many.score[:, 0] >= greedy.score - 1e-4).all()
    assert (many.score[:, 0] > greedy.score + 1e-4).any(), "otherwise this test tests nothing"
    assert (many.score.diff(dim=1) <= 0).all()
    for readings, ended in zip(many.digits.tolist(), many.ended, strict=True):
        assert len({tuple(reading) for reading, end in zip(readings, ended, strict=True) if end}) == ended.sum()
    with pytest.raises(ValueError, match=r"best=3 must lie in 1..width=2"):
        decoding.beam_search(writer(), images, 2, num_return_sequences=3)


def test_beams_of_an_image_do_not_depend_on_the_batch(images: torch.Tensor) -> None:
    together = decoding.beam_search(writer(), images, 4, num_return_sequences=4)
    for row in range(len(images)):
        alone = decoding.beam_search(writer(), images[row : row + 1], 4, num_return_sequences=4)
        assert torch.equal(alone.digits[0], together.digits[row])
        torch.testing.assert_close(alone.score[0], together.score[row], atol=1e-4, rtol=1e-4)


def test_cells_are_read_in_raster_order_without_the_empty_ones() -> None:
    logits = torch.full((2, 4, EMPTY_CELL + 1), -20.0)
    for cell, digit in enumerate([7, EMPTY_CELL, 3, EMPTY_CELL]):
        logits[0, cell, digit] = 20
    logits[1, :, EMPTY_CELL] = 20
    readout = decoding.by_cells(logits)
    assert readout.digits.tolist() == [[7, 3, PAD, PAD], [PAD] * 4]
    assert readout.cells is not None
    assert readout.cells.tolist() == [[7, EMPTY_CELL, 3, EMPTY_CELL], [EMPTY_CELL] * 4]
    assert readout.ended.all()
    torch.testing.assert_close(readout.confidence, torch.ones(2))
