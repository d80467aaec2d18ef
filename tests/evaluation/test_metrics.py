"""Metrics per scene, and their sums."""

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
from mnist_seq.nn.losses import LossOutput, compute_loss
from mnist_seq.training.metrics import SequenceMetrics
from mnist_seq.vocabulary import PAD, decode
from tests.conftest import stirred, tiny_models

MODELS = tiny_models()


def make_output(rows: list[list[int]], ended: list[bool]) -> DecodeOutput:
    digits = torch.tensor([row + [PAD] * (4 - len(row)) for row in rows])
    return DecodeOutput(digits, torch.ones(digits.shape), torch.ones(len(rows)), torch.tensor(ended))


TARGETS = make_output([[1, 2, 3, 4], [1, 2], [], [5], [7, 7]], [True] * 5).digits
OUTPUT = make_output([[1, 2, 3, 4], [1, 2, 3], [], [6], [7, 7]], [True, True, True, True, False])


def test_scene_metrics_equal_counts_by_hand() -> None:
    scene_metrics = metrics.compute_scene_metrics(OUTPUT, TARGETS)
    assert scene_metrics.exact_match.tolist() == [1, 0, 1, 0, 0], "a prediction without EOS is not correct"
    assert scene_metrics.num_correct_digits.tolist() == [4, 2, 0, 0, 2]
    assert scene_metrics.num_digits.tolist() == [4, 2, 0, 1, 2]
    assert scene_metrics.count_correct.tolist() == [1, 0, 1, 1, 1]
    assert scene_metrics.missing_eos.tolist() == [0, 0, 0, 0, 1]


def test_unordered_prediction_is_correct_in_any_order() -> None:
    truth = make_output([[1, 2, 2], [1, 2, 2], [1, 2], [3, 4, 5], [3, 4]], [True] * 5).digits
    read = make_output([[2, 1, 2], [2, 1, 1], [2, 1, 1], [5, 3], [4, 3]], [True, True, True, True, False])
    for ordered in (True, False):
        scene_metrics = metrics.compute_scene_metrics(read, truth, ordered)
        assert scene_metrics.multiset_match.tolist() == [1, 0, 0, 0, 0]
        assert scene_metrics.exact_match.tolist() == ([0] * 5 if ordered else [1, 0, 0, 0, 0])
        assert scene_metrics.num_correct_digits.tolist() == ([1, 0, 0, 0, 0] if ordered else [3, 2, 2, 2, 2])


def test_confusion_matrix_of_sets_matches_equal_digits_first() -> None:
    """1 5 9 predicted as 9 5: no prediction for 1. 2 2 3 predicted as 2 4: a 2 as 4, no prediction for 3."""
    truth = make_output([[1, 5, 9], [2, 2, 3]], [True] * 2).digits
    counts = metrics.confusion_matrix(make_output([[9, 5], [2, 4]], [True] * 2), truth, ordered=False)
    expected = torch.zeros(10, 11, dtype=torch.int64)
    expected[[5, 9, 2], [5, 9, 2]] = 1
    expected[[1, 2, 3], [10, 4, 10]] = 1
    assert torch.equal(counts, expected)


def test_confusion_matrix_counts_each_label_digit_once() -> None:
    counts = metrics.confusion_matrix(
        make_output([[1, 9], [3]], [True, True]), torch.tensor([[1, 2, PAD, PAD], [3, 4, PAD, PAD]])
    )
    assert counts.sum() == 4
    assert counts[1, 1] == counts[2, 9] == counts[3, 3] == counts[4, 10] == 1


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [3, 50])
def test_evaluation_equals_a_plain_count_for_any_batch_size(
    name: str, batch_size: int, grids: SyntheticDataset
) -> None:
    model = stirred(build(MODELS[name], grids.spec), scale=0.3)
    result = evaluate_model(model, grids, 50, batch_size)
    scenes = grids[:50]
    output, labels = model.read(scenes.images), decode(scenes.digits)
    pairs = list(zip(decode(output.digits), labels, output.ended.tolist(), strict=True))
    assert result.metrics["exact_match"].value == pytest.approx(
        sum(predicted == label and ended for predicted, label, ended in pairs) / 50
    )
    num_correct = sum(a == b for predicted, label, _ in pairs for a, b in zip(predicted, label, strict=False))
    assert result.metrics["digit_accuracy"].value == pytest.approx(num_correct / sum(map(len, labels)))
    assert result.metrics["count_accuracy"].value == pytest.approx(sum(len(m) == len(t) for m, t, _ in pairs) / 50)
    num_matching = sum(sorted(predicted) == sorted(label) and ended for predicted, label, ended in pairs)
    assert result.metrics["multiset_match"].value == pytest.approx(num_matching / 50)
    assert result.confusion.sum() == sum(map(len, labels))
    expected = compute_loss(model, scenes, LossConfig(label_smoothing=0.0))
    assert result.predictions.loss == pytest.approx(expected.loss.item(), rel=1e-4)


def test_order_counts_only_for_ordered_scenes(grids: SyntheticDataset) -> None:
    """A model that predicts every digit, the largest first, is correct on sets and not on grids."""
    model, spec, scenes = build(MODELS["enc_dec"], grids.spec), grids.spec, grids[:50]
    descending = scenes.digits.masked_fill(scenes.digits == PAD, -1).sort(1, descending=True).values
    output = DecodeOutput(
        descending.masked_fill(descending < 0, PAD), torch.zeros(50, 4), torch.zeros(50), torch.ones(50) > 0
    )
    in_order = evaluate_model(model, grids, 50, decode_fn=lambda images: output).metrics
    grids.spec = replace(spec, ordered=False)
    as_sets = evaluate_model(model, grids, 50, decode_fn=lambda images: output).metrics
    assert in_order["exact_match"].value < 0.5
    assert as_sets["exact_match"].value == as_sets["digit_accuracy"].value == in_order["multiset_match"].value == 1


def test_scene_without_digits_has_metrics() -> None:
    dataset = SyntheticDataset(ScatterConfig(max_digits=1), load("uci").pools["val"])
    empty = int((dataset[:50].counts == 0).nonzero()[0])
    scenes = SceneBatch(*(part[empty : empty + 1] for part in dataset[:50]))
    scene_metrics = metrics.compute_scene_metrics(make_output([[]], [True]), scenes.digits)
    assert metrics.safe_divide(scene_metrics.num_correct_digits.sum(), scene_metrics.num_digits.sum()) == 1
    assert proportion_with_interval(
        scene_metrics.num_correct_digits, scene_metrics.num_digits, SharedSources(scenes.sources)
    ) == (
        1,
        0,
        1,
        0,
    )


def test_metrics_do_not_depend_on_the_batch_size(grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS["enc_dec"], grids.spec), scale=0.3)
    scores = []
    for size in (50, 7):
        score = SequenceMetrics()
        for first in range(0, 50, size):
            scenes = grids[first : min(first + size, 50)]
            score.update(model.read(scenes.images), scenes.digits, compute_loss(model, scenes, LossConfig()))
        scores.append({name: float(value) for name, value in score.compute().items()})
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_metrics_are_exact_whatever_the_precision_of_the_module(dtype: torch.dtype) -> None:
    """In bfloat16, 300 + 1 is 300."""
    score = SequenceMetrics().to(dtype=dtype)
    loss = LossOutput(torch.tensor(0.25), torch.tensor(300), torch.tensor(2))
    for right in [*[True] * 299, False]:
        score.update(make_output([[1, 2]], [True]), make_output([[1, 2 if right else 3]], [True]).digits, loss)
    values = score.compute()
    assert float(values["exact_match"]) == pytest.approx(299 / 300, rel=1e-6)
    assert float(values["loss"]) == 0.25
