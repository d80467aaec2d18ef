"""Verdicts, sums and intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mnist_seq.config import LossConfig, ScatterConfig
from mnist_seq.data.digits import load
from mnist_seq.data.scenes import Scenes
from mnist_seq.data.sets import Synthesised
from mnist_seq.judging import verdicts
from mnist_seq.judging.intervals import Kin, share
from mnist_seq.learn.judge import judge
from mnist_seq.learn.losses import taught
from mnist_seq.learn.metrics import ReadingScore
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
    verdict = verdicts.judge(READ, TRUTH)
    assert verdict.exact.tolist() == [1, 0, 1, 0, 0], "a reading that does not end is not right"
    assert verdict.digits_right.tolist() == [4, 2, 0, 0, 2]
    assert verdict.digits.tolist() == [4, 2, 0, 1, 2]
    assert verdict.count_right.tolist() == [1, 0, 1, 1, 1]
    assert verdict.end_error.tolist() == [0, 0, 0, 0, 1]


def test_a_set_is_right_in_any_order() -> None:
    truth = readout([[1, 2, 2], [1, 2, 2], [1, 2], [3, 4, 5], [3, 4]], [True] * 5).digits
    read = readout([[2, 1, 2], [2, 1, 1], [2, 1, 1], [5, 3], [4, 3]], [True, True, True, True, False])
    for ordered in (True, False):
        verdict = verdicts.judge(read, truth, ordered)
        assert verdict.multiset.tolist() == [1, 0, 0, 0, 0]
        assert verdict.exact.tolist() == ([0] * 5 if ordered else [1, 0, 0, 0, 0])
        assert verdict.digits_right.tolist() == ([1, 0, 0, 0, 0] if ordered else [3, 2, 2, 2, 2])


def test_confusion_of_a_set_puts_together_what_it_can() -> None:
    """1 5 9 read as 9 5: the 1 was not read. 2 2 3 read as 2 4: a 2 as a 4, the 3 not at all."""
    truth = readout([[1, 5, 9], [2, 2, 3]], [True] * 2).digits
    counts = verdicts.confusion(readout([[9, 5], [2, 4]], [True] * 2), truth, ordered=False)
    expected = torch.zeros(10, 11, dtype=torch.int64)
    expected[[5, 9, 2], [5, 9, 2]] = 1
    expected[[1, 2, 3], [10, 4, 10]] = 1
    assert torch.equal(counts, expected)


def test_confusion_counts_each_digit_there_is_once() -> None:
    counts = verdicts.confusion(
        readout([[1, 9], [3]], [True, True]), torch.tensor([[1, 2, PAD, PAD], [3, 4, PAD, PAD]])
    )
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
    assert judgement.figures["exact_match"].value == pytest.approx(
        sum(mine == is_ and end for mine, is_, end in pairs) / 50
    )
    right = sum(a == b for mine, is_, _ in pairs for a, b in zip(mine, is_, strict=False))
    assert judgement.figures["digit_accuracy"].value == pytest.approx(right / sum(map(len, truth)))
    assert judgement.figures["count_accuracy"].value == pytest.approx(sum(len(m) == len(t) for m, t, _ in pairs) / 50)
    same = sum(sorted(mine) == sorted(is_) and end for mine, is_, end in pairs)
    assert judgement.figures["multiset_match"].value == pytest.approx(same / 50)
    assert judgement.confusion.sum() == sum(map(len, truth))
    whole = taught(model, scenes, LossConfig(label_smoothing=0.0))
    assert judgement.readings.loss == pytest.approx(whole.loss.item(), rel=1e-4)


def test_what_order_means_is_the_scenes_business(grids: Synthesised) -> None:
    """A reader of grids that finds every digit, the highest first, is right on sets and not on grids."""
    model, spec, scenes = build(MODELS["enc_dec"], grids.spec), grids.spec, grids[:50]
    falling = scenes.digits.masked_fill(scenes.digits == PAD, -1).sort(1, descending=True).values
    found = Readout(falling.masked_fill(falling < 0, PAD), torch.zeros(50, 4), torch.zeros(50), torch.ones(50) > 0)
    in_order = judge(model, grids, 50, read=lambda images: found).figures
    grids.spec = replace(spec, ordered=False)
    as_sets = judge(model, grids, 50, read=lambda images: found).figures
    assert in_order["exact_match"].value < 0.5
    assert as_sets["exact_match"].value == as_sets["digit_accuracy"].value == in_order["multiset_match"].value == 1


def test_scenes_without_digits_are_judged_without_complaint() -> None:
    nothing = Synthesised(ScatterConfig(max_digits=1), load("uci").pools["val"])
    empty = int((nothing[:50].counts == 0).nonzero()[0])
    scenes = Scenes(*(part[empty : empty + 1] for part in nothing[:50]))
    verdict = verdicts.judge(readout([[]], [True]), scenes.digits)
    assert verdicts.share(verdict.digits_right.sum(), verdict.digits.sum()) == 1
    assert share(verdict.digits_right, verdict.digits, Kin(scenes.sources)) == (1, 0, 1, 0)


def test_uneven_batches_count_by_scene_and_not_by_batch(grids: Synthesised) -> None:
    model = stirred(build(MODELS["enc_dec"], grids.spec), scale=0.3)
    scores = []
    for size in (50, 7):
        score = ReadingScore()
        for first in range(0, 50, size):
            scenes = grids[first : min(first + size, 50)]
            score.update(model.read(scenes.images), scenes.digits, taught(model, scenes, LossConfig()))
        scores.append({name: float(value) for name, value in score.compute().items()})
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
