"""Verdicts, sums and intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mnist_seq.config import LossConfig, ScatterConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.sources import load
from mnist_seq.evaluation import metrics
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.evaluation.intervals import SharedSources, proportion_with_interval
from mnist_seq.nn import build
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.nn.losses import compute_loss
from mnist_seq.training.metrics import SequenceMetrics
from mnist_seq.vocabulary import PAD, decode
from tests.conftest import stirred, tiny_models

MODELS = tiny_models()


def readout(rows: list[list[int]], ended: list[bool]) -> DecodeOutput:
    digits = torch.tensor([row + [PAD] * (4 - len(row)) for row in rows])
    return DecodeOutput(digits, torch.ones(digits.shape), torch.ones(len(rows)), torch.tensor(ended))


TRUTH = readout([[1, 2, 3, 4], [1, 2], [], [5], [7, 7]], [True] * 5).digits
READ = readout([[1, 2, 3, 4], [1, 2, 3], [], [6], [7, 7]], [True, True, True, True, False])


def test_a_verdict_is_what_a_person_would_say() -> None:
    verdict = metrics.compute_scene_metrics(READ, TRUTH)
    assert verdict.exact_match.tolist() == [1, 0, 1, 0, 0], "a reading that does not end is not right"
    assert verdict.num_correct_digits.tolist() == [4, 2, 0, 0, 2]
    assert verdict.num_digits.tolist() == [4, 2, 0, 1, 2]
    assert verdict.count_correct.tolist() == [1, 0, 1, 1, 1]
    assert verdict.missing_eos.tolist() == [0, 0, 0, 0, 1]


def test_a_set_is_right_in_any_order() -> None:
    truth = readout([[1, 2, 2], [1, 2, 2], [1, 2], [3, 4, 5], [3, 4]], [True] * 5).digits
    read = readout([[2, 1, 2], [2, 1, 1], [2, 1, 1], [5, 3], [4, 3]], [True, True, True, True, False])
    for ordered in (True, False):
        verdict = metrics.compute_scene_metrics(read, truth, ordered)
        assert verdict.multiset_match.tolist() == [1, 0, 0, 0, 0]
        assert verdict.exact_match.tolist() == ([0] * 5 if ordered else [1, 0, 0, 0, 0])
        assert verdict.num_correct_digits.tolist() == ([1, 0, 0, 0, 0] if ordered else [3, 2, 2, 2, 2])


def test_confusion_of_a_set_puts_together_what_it_can() -> None:
    """1 5 9 read as 9 5: the 1 was not read. 2 2 3 read as 2 4: a 2 as a 4, the 3 not at all."""
    truth = readout([[1, 5, 9], [2, 2, 3]], [True] * 2).digits
    counts = metrics.confusion_matrix(readout([[9, 5], [2, 4]], [True] * 2), truth, ordered=False)
    expected = torch.zeros(10, 11, dtype=torch.int64)
    expected[[5, 9, 2], [5, 9, 2]] = 1
    expected[[1, 2, 3], [10, 4, 10]] = 1
    assert torch.equal(counts, expected)


def test_confusion_counts_each_digit_there_is_once() -> None:
    counts = metrics.confusion_matrix(
        readout([[1, 9], [3]], [True, True]), torch.tensor([[1, 2, PAD, PAD], [3, 4, PAD, PAD]])
    )
    assert counts.sum() == 4
    assert counts[1, 1] == counts[2, 9] == counts[3, 3] == counts[4, 10] == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [3, 50])
def test_the_judge_equals_a_plain_count_whatever_the_batch(name: str, batch_size: int, grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS[name], grids.spec), scale=0.3)
    judgement = evaluate_model(model, grids, 50, batch_size)
    scenes = grids[:50]
    read, truth = model.read(scenes.images), decode(scenes.digits)
    pairs = list(zip(decode(read.digits), truth, read.ended.tolist(), strict=True))
    assert judgement.metrics["exact_match"].value == pytest.approx(
        sum(mine == is_ and end for mine, is_, end in pairs) / 50
    )
    right = sum(a == b for mine, is_, _ in pairs for a, b in zip(mine, is_, strict=False))
    assert judgement.metrics["digit_accuracy"].value == pytest.approx(right / sum(map(len, truth)))
    assert judgement.metrics["count_accuracy"].value == pytest.approx(sum(len(m) == len(t) for m, t, _ in pairs) / 50)
    same = sum(sorted(mine) == sorted(is_) and end for mine, is_, end in pairs)
    assert judgement.metrics["multiset_match"].value == pytest.approx(same / 50)
    assert judgement.confusion.sum() == sum(map(len, truth))
    whole = compute_loss(model, scenes, LossConfig(label_smoothing=0.0))
    assert judgement.predictions.loss == pytest.approx(whole.loss.item(), rel=1e-4)


def test_what_order_means_is_the_scenes_business(grids: SyntheticDataset) -> None:
    """A reader of grids that finds every digit, the highest first, is right on sets and not on grids."""
    model, spec, scenes = build(MODELS["enc_dec"], grids.spec), grids.spec, grids[:50]
    falling = scenes.digits.masked_fill(scenes.digits == PAD, -1).sort(1, descending=True).values
    found = DecodeOutput(falling.masked_fill(falling < 0, PAD), torch.zeros(50, 4), torch.zeros(50), torch.ones(50) > 0)
    in_order = evaluate_model(model, grids, 50, decode_fn=lambda images: found).metrics
    grids.spec = replace(spec, ordered=False)
    as_sets = evaluate_model(model, grids, 50, decode_fn=lambda images: found).metrics
    assert in_order["exact_match"].value < 0.5
    assert as_sets["exact_match"].value == as_sets["digit_accuracy"].value == in_order["multiset_match"].value == 1


def test_scenes_without_digits_are_judged_without_complaint() -> None:
    nothing = SyntheticDataset(ScatterConfig(max_digits=1), load("uci").pools["val"])
    empty = int((nothing[:50].counts == 0).nonzero()[0])
    scenes = SceneBatch(*(part[empty : empty + 1] for part in nothing[:50]))
    verdict = metrics.compute_scene_metrics(readout([[]], [True]), scenes.digits)
    assert metrics.safe_divide(verdict.num_correct_digits.sum(), verdict.num_digits.sum()) == 1
    assert proportion_with_interval(verdict.num_correct_digits, verdict.num_digits, SharedSources(scenes.sources)) == (
        1,
        0,
        1,
        0,
    )


def test_uneven_batches_count_by_scene_and_not_by_batch(grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS["enc_dec"], grids.spec), scale=0.3)
    scores = []
    for size in (50, 7):
        score = SequenceMetrics()
        for first in range(0, 50, size):
            scenes = grids[first : min(first + size, 50)]
            score.update(model.read(scenes.images), scenes.digits, compute_loss(model, scenes, LossConfig()))
        scores.append({name: float(value) for name, value in score.compute().items()})
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
