"""Verdicts, sums and intervals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from mnist_seq.config import LossConfig, OptimConfig, ScatterConfig, learning
from mnist_seq.data.digits import load
from mnist_seq.data.scenes import Scenes
from mnist_seq.data.sets import Synthesised
from mnist_seq.learn import metrics
from mnist_seq.learn.judge import judge
from mnist_seq.learn.losses import LOSSES, cross_entropy, multiset, remaining, shuffled, taught
from mnist_seq.learn.modules import ReaderModule
from mnist_seq.nn import build
from mnist_seq.nn.decoding import Readout
from mnist_seq.nn.model import Model
from mnist_seq.tokens import EOS, PAD, decode, encode
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
    assert verdict.count_right.tolist() == [1, 0, 1, 1, 1]
    assert verdict.end_error.tolist() == [0, 0, 0, 0, 1]


def test_a_set_is_right_in_any_order() -> None:
    truth = readout([[1, 2, 2], [1, 2, 2], [1, 2], [3, 4, 5], [3, 4]], [True] * 5).digits
    read = readout([[2, 1, 2], [2, 1, 1], [2, 1, 1], [5, 3], [4, 3]], [True, True, True, True, False])
    for ordered in (True, False):
        verdict = metrics.judge(read, truth, ordered)
        assert verdict.multiset.tolist() == [1, 0, 0, 0, 0]
        assert verdict.exact.tolist() == ([0] * 5 if ordered else [1, 0, 0, 0, 0])
        assert verdict.digits_right.tolist() == ([1, 0, 0, 0, 0] if ordered else [3, 2, 2, 2, 2])


def test_confusion_of_a_set_puts_together_what_it_can() -> None:
    """1 5 9 read as 9 5: the 1 was not read. 2 2 3 read as 2 4: a 2 as a 4, the 3 not at all."""
    truth = readout([[1, 5, 9], [2, 2, 3]], [True] * 2).digits
    counts = metrics.confusion(readout([[9, 5], [2, 4]], [True] * 2), truth, ordered=False)
    expected = torch.zeros(10, 11, dtype=torch.int64)
    expected[[5, 9, 2], [5, 9, 2]] = 1
    expected[[1, 2, 3], [10, 4, 10]] = 1
    assert torch.equal(counts, expected)


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
    assert judgement.values["count_accuracy"] == pytest.approx(sum(len(m) == len(t) for m, t, _ in pairs) / 50)
    same = sum(sorted(mine) == sorted(is_) and end for mine, is_, end in pairs)
    assert judgement.values["multiset_match"] == pytest.approx(same / 50)
    assert judgement.confusion.sum() == sum(map(len, truth))
    whole = taught(model, scenes, LossConfig(label_smoothing=0.0))
    assert judgement.loss == pytest.approx(whole.loss.item(), rel=1e-4)


def test_what_order_means_is_the_scenes_business(grids: Synthesised) -> None:
    """A reader of grids that finds every digit, the highest first, is right on sets and not on grids."""
    model, spec, scenes = build(MODELS["enc_dec"], grids.spec), grids.spec, grids[:50]
    falling = scenes.digits.masked_fill(scenes.digits == PAD, -1).sort(1, descending=True).values
    found = Readout(falling.masked_fill(falling < 0, PAD), torch.zeros(50, 4), torch.zeros(50), torch.ones(50) > 0)
    in_order = judge(model, grids, 50, read=lambda images: found).values
    grids.spec = replace(spec, ordered=False)
    as_sets = judge(model, grids, 50, read=lambda images: found).values
    assert in_order["exact_match"] < 0.5
    assert as_sets["exact_match"] == as_sets["digit_accuracy"] == in_order["multiset_match"] == 1


def test_scenes_without_digits_are_judged_without_complaint() -> None:
    nothing = Synthesised(ScatterConfig(max_digits=1), load("uci").pools["val"])
    empty = int((nothing[:50].counts == 0).nonzero()[0])
    scenes = Scenes(*(part[empty : empty + 1] for part in nothing[:50]))
    verdict = metrics.judge(readout([[]], [True]), scenes.digits)
    assert metrics.share(verdict.digits_right.sum(), verdict.digits.sum()) == 1
    assert metrics.interval(verdict.digits_right, verdict.digits, scenes.sources) == (0, 1)


def test_uneven_batches_count_by_scene_and_not_by_batch(grids: Synthesised) -> None:
    model = stirred(build(MODELS["enc_dec"], grids.spec), scale=0.3)
    scores = []
    for size in (50, 7):
        score = metrics.ReadingScore()
        for first in range(0, 50, size):
            scenes = grids[first : min(first + size, 50)]
            score.update(model.read(scenes.images), scenes.digits, taught(model, scenes, LossConfig()))
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
    smooth = LossConfig(label_smoothing=0.1)
    went = cross_entropy(logits, targets, smooth, inert=PAD)
    went.loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(-1) > 0).tolist() == (targets != PAD).tolist()
    assert went.total == 5
    alone = cross_entropy(logits[:1, :3], targets[:1, :3], smooth, inert=PAD).loss * 3
    other = cross_entropy(logits[1:, :2], targets[1:, :2], smooth, inert=PAD).loss * 2
    torch.testing.assert_close(went.loss, (alone + other) / 5)
    summed = cross_entropy(logits, targets, LossConfig(label_smoothing=0.1, reduction="sum"), inert=PAD)
    torch.testing.assert_close(summed.loss, (alone + other) / 2, msg="a sum over a scene's targets, a mean over scenes")


DIGITS_LEFT = torch.tensor([[7, 1, 7, PAD], [PAD] * 4, [4, PAD, PAD, PAD]])


def test_what_remains_is_spread_over_the_digits_not_yet_read() -> None:
    """Welleck et al. 2018: the oracle policy is uniform over what is left, by number; then the end."""
    left = remaining(DIGITS_LEFT, 13)
    torch.testing.assert_close(left.sum(-1), torch.ones(3, 5))
    assert left[0, 0, [1, 7]].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert left[0, 1, [1, 7]].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert left[0, 2, 7] == 1
    assert (left[[0, 1, 2], [3, 0, 1], EOS] == 1).all()


class Told(Model):
    """Writes what its logits say, whatever it sees."""

    reads = "sequence"

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, images: Tensor, tokens: Tensor) -> Tensor:
        self.told = tokens
        return self.logits

    def read(self, images: Tensor) -> Readout:
        raise NotImplementedError

    def embed(self, images: Tensor) -> Tensor:
        raise NotImplementedError


def test_the_multiset_loss_counts_any_digit_that_is_left_and_no_padding() -> None:
    digits, logits = DIGITS_LEFT, torch.randn(3, 5, 13)
    blank = torch.zeros(3)
    scenes = Scenes(blank, digits, encode(digits), blank, blank, blank, blank)
    model = Told(logits).eval()
    for smoothing in (0.0, 0.2):
        went = multiset(model, scenes, LossConfig(name="multiset", label_smoothing=smoothing))
        by_hand = []
        for row, held in enumerate([[7, 1, 7], [], [4]]):
            for place in range(len(held) + 1):
                left = held[place:] or [EOS]
                logs = logits[row, place].log_softmax(-1)
                by_hand.append((smoothing - 1) * logs[left].mean() - smoothing * logs.mean())
        assert went.total == len(by_hand) == 7
        assert went.loss.item() == pytest.approx(float(sum(by_hand)) / 7, rel=1e-5)
    went.loss.backward()
    assert model.logits.grad is not None
    assert (model.logits.grad.abs().sum(-1) > 0).tolist() == (encode(digits)[:, 1:] != PAD).tolist()


def test_the_multiset_loss_is_least_where_belief_is_spread_over_what_is_left() -> None:
    """The bound is the entropy of the oracle; a writer that insists on the order that it was told is above it."""
    digits, blank = torch.tensor([[1, 7]]), torch.zeros(1)
    scenes = Scenes(blank, digits, encode(digits), blank, blank, blank, blank)
    plainly = LossConfig(label_smoothing=0)
    even = remaining(digits, 13).clamp(min=1e-9).log()
    sure = F.one_hot(encode(digits)[:, 1:], 13).clamp(min=1e-9).float().log()
    least = multiset(Told(even).eval(), scenes, plainly).loss
    assert least.item() == pytest.approx(math.log(2) / 3, abs=1e-4)
    assert multiset(Told(sure).eval(), scenes, plainly).loss > least + 1
    for _ in range(20):
        other = Told(even + torch.randn_like(even)).eval()
        assert multiset(other, scenes, plainly).loss > least


def test_shuffling_keeps_digits_first_and_is_uniform() -> None:
    torch.manual_seed(0)
    digits = torch.tensor([[0, 1, 2, PAD, PAD]]).expand(6000, -1)
    drawn = shuffled(digits)
    assert (drawn[:, 3:] == PAD).all()
    orders = torch.bincount(drawn[:, 0] * 9 + drawn[:, 1] * 3 + drawn[:, 2])
    assert stats.chisquare(orders[orders > 0]).pvalue > 0.001
    assert (orders > 0).sum() == 6


@pytest.mark.parametrize(("loss", "shuffle"), [("cross_entropy", False), ("cross_entropy", True), ("multiset", False)])
@pytest.mark.parametrize("training", [True, False])
def test_only_losses_for_sets_shuffle_and_only_in_training(loss: str, shuffle: bool, training: bool) -> None:
    digits, blank = torch.arange(8).expand(20, -1), torch.zeros(20)
    scenes = Scenes(blank, digits, encode(digits), blank, blank, blank, blank)
    model = Told(torch.randn(20, 9, 13)).train(training)
    taught(model, scenes, LossConfig(name=loss, shuffle=shuffle))
    assert torch.equal(model.told, scenes.tokens[:, :-1]) != (training and (shuffle or loss == "multiset"))
    assert torch.equal(model.told.sort(1).values, scenes.tokens[:, :-1].sort(1).values)


@pytest.mark.parametrize("config", [LossConfig(name="multiset"), LossConfig(shuffle=True)])
def test_a_loss_that_would_teach_the_wrong_thing_is_refused_before_any_training(
    config: LossConfig, grids: Synthesised
) -> None:
    assert {name for name, _ in LOSSES} == set(learning.LOSSES)
    sets = replace(grids.spec, ordered=False)
    ReaderModule(build(MODELS["enc_dec"], sets), OptimConfig(), config)
    with pytest.raises(ValueError, match="teaches no model that reads by cells: try model=enc_dec"):
        ReaderModule(build(MODELS["classifier"], sets), OptimConfig(), config)
    with pytest.raises(ValueError, match="teaches sets, but these scenes are read in order"):
        ReaderModule(build(MODELS["enc_dec"], grids.spec), OptimConfig(), config)
