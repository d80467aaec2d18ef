"""Verdicts, sums and intervals."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.data.sets import Synthesised
from mnist_seq.learn import metrics
from mnist_seq.learn.judge import judge
from mnist_seq.learn.losses import LOSSES, cross_entropy
from mnist_seq.nn import build
from mnist_seq.nn.decoding import Readout
from mnist_seq.tokens import PAD, decode
from tests.conftest import stirred, tiny_models

MODELS = tiny_models()


def readout(rows: list[list[int]], ended: list[bool]) -> Readout:
    digits = torch.tensor([row + [PAD] * (4 - len(row)) for row in rows])
    return Readout(digits, torch.ones(digits.shape), torch.ones(len(rows)), torch.tensor(ended))


TRUTH = readout([[1, 2, 3, 4], [1, 2], [], [5], [7, 7]], [True] * 5).digits
READ = readout([[1, 2, 3, 4], [1, 2, 3], [], [6], [7, 7]], [True, True, True, True, False])


def test_a_verdict_is_what_a_person_would_say() -> None:
    verdict = metrics.judge(READ, TRUTH)
    assert verdict.exact.tolist() == [1, 0, 1, 0, 0], "a reading that does not end is not right"
    assert verdict.digits_right.tolist() == [4, 2, 0, 0, 2]
    assert verdict.digits.tolist() == [4, 2, 0, 1, 2]
    assert verdict.length_error.tolist() == [0, 1, 0, 0, 0]
    assert verdict.end_error.tolist() == [0, 0, 0, 0, 1]


def test_confusion_counts_each_digit_there_is_once() -> None:
    counts = metrics.confusion(readout([[1, 9], [3]], [True, True]), torch.tensor([[1, 2, PAD, PAD], [3, 4, PAD, PAD]]))
    assert counts.sum() == 4
    assert counts[1, 1] == counts[2, 9] == counts[3, 3] == counts[4, 10] == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [3, 50])
def test_the_judge_equals_a_plain_count_whatever_the_batch(name: str, batch_size: int, grids: Synthesised) -> None:
    model = stirred(build(MODELS[name], grids.spec), scale=0.3)
    judgement = judge(model, grids, 50, batch_size)
    scenes = grids[:50]
    read, truth = model.read(scenes.images), decode(scenes.digits)
    pairs = list(zip(decode(read.digits), truth, read.ended.tolist(), strict=True))
    assert judgement.values["exact_match"] == pytest.approx(sum(mine == is_ and end for mine, is_, end in pairs) / 50)
    right = sum(a == b for mine, is_, _ in pairs for a, b in zip(mine, is_, strict=False))
    assert judgement.values["digit_accuracy"] == pytest.approx(right / sum(map(len, truth)))
    assert judgement.values["length_errors"] == pytest.approx(sum(len(m) != len(t) for m, t, _ in pairs) / 50)
    assert judgement.confusion.sum() == sum(map(len, truth))
    whole = LOSSES[name](model, scenes, 0.0)
    assert judgement.loss == pytest.approx(float(whole.loss), rel=1e-4)


def test_uneven_batches_count_by_scene_and_not_by_batch(grids: Synthesised) -> None:
    model = stirred(build(MODELS["enc_dec"], grids.spec), scale=0.3)
    scores = []
    for size in (50, 7):
        score = metrics.ReadingScore()
        for first in range(0, 50, size):
            scenes = grids[first : min(first + size, 50)]
            score.update(model.read(scenes.images), scenes.digits, LOSSES["enc_dec"](model, scenes, 0.0))
        scores.append({name: float(value) for name, value in score.compute().items()})
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_the_interval_is_wilsons_where_no_digit_is_shared() -> None:
    right = (torch.arange(400) % 10 > 0).float()
    mine = metrics.interval(right, torch.ones(400), torch.arange(400)[:, None])
    assert mine == pytest.approx(metrics.wilson(0.9, 400), rel=1e-6)
    assert mine == pytest.approx((0.8667, 0.9257), abs=2e-3)  # Wilson's for 360 of 400


def test_the_interval_follows_the_protocols_formula() -> None:
    """Variance: the products of errors over all pairs that share a digit, over n squared."""
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(60, generator=generator) > 0.3).float()
    sources = torch.randint(0, 40, (60, 3), generator=generator)
    sources[::5, 2] = -1
    shown = [set(row.tolist()) - {-1} for row in sources]
    errors = right - right.mean()
    pairs = ((i, j) for i in range(60) for j in range(60) if i == j or shown[i] & shown[j])
    variance = float(sum(errors[i] * errors[j] for i, j in pairs)) / 60**2
    share = float(right.mean())
    expected = metrics.wilson(share, share * (1 - share) / variance)
    assert metrics.interval(right, torch.ones(60), sources) == pytest.approx(expected, rel=1e-5)


def test_intervals_cover_when_errors_sit_on_digits_and_naive_ones_do_not() -> None:
    """200 test sets of 400 scenes over 100 digits, of which some are always misread: about 95 % of intervals hold."""
    generator = torch.Generator().manual_seed(0)
    held = naive = 0
    for _ in range(200):
        misread = torch.rand(100, generator=generator) < 0.1
        sources = torch.randint(0, 100, (400, 2), generator=generator)
        right = (~misread[sources].any(1)).float()
        low, high = metrics.interval(right, torch.ones(400), sources)
        held += low <= 0.81 <= high
        low, high = metrics.wilson(float(right.mean()), 400)
        naive += low <= 0.81 <= high
    assert 0.90 <= held / 200 <= 0.99
    assert naive / 200 < 0.85


def test_an_interval_of_nothing_wrong_still_has_width() -> None:
    low, high = metrics.interval(torch.ones(100), torch.ones(100), torch.arange(100)[:, None])
    assert 0.95 < low < 0.97
    assert high == pytest.approx(1)


def test_padding_is_inert_in_the_loss() -> None:
    logits = torch.randn(2, 5, 13, requires_grad=True)
    targets = torch.tensor([[1, 2, 12, PAD, PAD], [3, 12, PAD, PAD, PAD]])
    taught = cross_entropy(logits, targets, smoothing=0.1, inert=PAD)
    taught.loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).tolist() == (targets != PAD).tolist()
    assert taught.total == 5
    alone = cross_entropy(logits[:1, :3], targets[:1, :3], 0.1, inert=PAD).loss * 3
    other = cross_entropy(logits[1:, :2], targets[1:, :2], 0.1, inert=PAD).loss * 2
    torch.testing.assert_close(taught.loss, (alone + other) / 5)
