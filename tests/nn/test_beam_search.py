"""Beam search against greedy decoding and against an exhaustive search."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from mnist_seq.config import Spec
from mnist_seq.nn import decoding
from mnist_seq.nn.beam_search import beam_search
from mnist_seq.vocabulary import BOS, EOS, NUM_DIGITS, PAD
from tests.nn.conftest import sequence_model


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_one_beam_equals_greedy_decoding(precision: str, images: torch.Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        one_beam = beam_search(sequence_model(), images, 1).best
        greedy = decoding.greedy(sequence_model(), images)
    assert torch.equal(one_beam.digits, greedy.digits)
    assert torch.equal(one_beam.ended, greedy.ended)
    torch.testing.assert_close(one_beam.score, greedy.score)
    torch.testing.assert_close(one_beam.log_probs, greedy.log_probs)


@torch.no_grad()
def test_beams_for_every_sequence_find_and_rank_all_of_them() -> None:
    """Against the teacher-forced score, without a cache, of every sequence of up to two digits."""
    spec = Spec(28, 28, 2, (1, 1))
    model, images = sequence_model(spec=spec), torch.rand(3, 1, 28, 28)
    digits = range(NUM_DIGITS)
    sequences: list[tuple[int, ...]] = [(EOS,), *product(digits, [EOS]), *product(digits, digits, [*digits, EOS])]
    scores = torch.empty(3, len(sequences))
    for i, sequence in enumerate(sequences):
        tokens = torch.tensor([[BOS, *sequence]]).expand(3, -1)
        logits = model(images, tokens[:, :-1])
        logits[..., [PAD, BOS]] = -torch.inf
        scores[:, i] = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).sum((1, 2))
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(3), msg="a sequence is missing")
    num_beams = len(sequences) + 40  # more than there are sequences
    output = beam_search(model, images, num_beams, num_return_sequences=num_beams)
    sorted_scores, order = scores.sort(1, descending=True)
    torch.testing.assert_close(output.score[:, :-40], sorted_scores, atol=1e-4, rtol=1e-4)
    assert (output.score[:, -40:] == -torch.inf).all()
    for row in range(3):
        for rank in range(20):
            sequence = sequences[order[row, rank]]
            expected = [token for token in sequence[:2] if token < NUM_DIGITS]
            assert output.digits[row, rank].tolist() == expected + [PAD] * (2 - len(expected))
            assert bool(output.ended[row, rank]) == (sequence[-1] == EOS)


def test_more_beams_find_more_likely_sequences_and_rank_them(images: torch.Tensor) -> None:
    greedy = decoding.greedy(sequence_model(), images)
    output = beam_search(sequence_model(), images, 8, num_return_sequences=5)
    assert output.digits.shape == (12, 5, 4)
    assert (output.score[:, 0] >= greedy.score - 1e-4).all()
    assert (output.score[:, 0] > greedy.score + 1e-4).any(), "otherwise this test tests nothing"
    assert (output.score.diff(dim=1) <= 0).all()
    for sequences, ended in zip(output.digits.tolist(), output.ended, strict=True):
        distinct = {tuple(digits) for digits, has_ended in zip(sequences, ended, strict=True) if has_ended}
        assert len(distinct) == ended.sum()
    with pytest.raises(ValueError, match=r"num_return_sequences=3 must lie in 1..num_beams=2"):
        beam_search(sequence_model(), images, 2, num_return_sequences=3)


def test_beams_of_an_image_do_not_depend_on_the_batch(images: torch.Tensor) -> None:
    batch = beam_search(sequence_model(), images, 4, num_return_sequences=4)
    for row in range(len(images)):
        alone = beam_search(sequence_model(), images[row : row + 1], 4, num_return_sequences=4)
        assert torch.equal(alone.digits[0], batch.digits[row])
        torch.testing.assert_close(alone.score[0], batch.score[row], atol=1e-4, rtol=1e-4)
