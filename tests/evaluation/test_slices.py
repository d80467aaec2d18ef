"""Parts add up to the whole, and each scene is where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchmetrics.functional.text import edit_distance

from mnist_seq import cli
from mnist_seq.config import ScatterConfig, TrainConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.sources import DigitSource
from mnist_seq.evaluation import metrics
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.evaluation.slices import max_box_iou
from mnist_seq.nn import build
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import NUM_DIGITS, PAD, decode
from tests.conftest import tiny_models


def told(scenes: SyntheticDataset, number: int, wrong: dict[int, list[int]]) -> EvalResult:
    """Of a reader that reads all right but these."""
    digits = scenes[:number].digits.clone()
    for id_, read in wrong.items():
        digits[id_] = torch.tensor(read + [PAD] * (digits.shape[1] - len(read)))
    certain = torch.zeros(digits.shape)
    found = DecodeOutput(digits, certain, -torch.arange(number) / number, torch.ones(number) > 0)
    model = build(tiny_models()["enc_dec"], scenes.spec)
    return evaluate_model(model, scenes, number, decode_fn=lambda images: found, batch_size=number)


@pytest.fixture
def scattered(uci: DigitSource) -> SyntheticDataset:
    return SyntheticDataset(ScatterConfig(overlap=0.3, order_margin=1, min_digits=1), uci.pools["val"])


def test_strata_add_up_to_the_whole(scattered: SyntheticDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = {id_: torch.randint(0, 10, (2,), generator=generator).tolist() for id_ in range(0, 300, 3)}
    judgement = told(scattered, 300, wrong)
    assert len(judgement.slices) == 5
    exact, digits = judgement.metrics["exact_match"], judgement.metrics["digit_accuracy"]
    for what, each in judgement.slices.items():
        whole = exact if what.startswith("exact match") else digits
        if "several" not in what:
            assert sum(it.proportion.total for it in each) == whole.total
            assert sum(it.proportion.value * it.proportion.total for it in each) == pytest.approx(
                whole.value * whole.total
            )
        else:
            assert sum(it.proportion.total for it in each) == (scattered[:300].counts > 1).sum()
        assert all(it.proportion.low <= it.proportion.value <= it.proportion.high for it in each)


def test_a_scene_is_where_it_belongs(scattered: SyntheticDataset) -> None:
    """One reading alone is wrong, in its last digit: that scene's strata lose it, and no others."""
    scenes = scattered[:200]
    id_ = int((scenes.counts == 3).nonzero()[0])
    truth = decode(scenes.digits)[id_]
    read = [*truth[:-1], (truth[-1] + 1) % 10]
    strata = told(scattered, 200, {id_: read}).slices
    lost = {what: [it.name for it in each if it.proportion.value < 1] for what, each in strata.items()}
    assert lost["exact match, by digits in the scene"] == ["3"]
    assert lost["digits right, by place in the reading"] == ["3"]
    assert lost["digits right, by digit"] == [str(truth[-1])]
    assert len(lost["exact match, by the pixels that decide the order of several"]) == 1
    assert len(lost["exact match, by overlap of the digits' boxes, where there are several"]) == 1


def test_overlap_is_intersection_over_union() -> None:
    boxes = torch.tensor([[[0, 0, 4, 4], [2, 0, 6, 4], [9, 9, 10, 10]], [[0, 0, 4, 4], [4, 0, 8, 4], [0, 0, 0, 0]]])
    assert max_box_iou(boxes).tolist() == pytest.approx([8 / 24, 0])


def test_every_wrong_reading_has_one_kind(scattered: SyntheticDataset) -> None:
    scenes = scattered[:50]
    ids = (scenes.counts >= 2).nonzero()[:4, 0].tolist()
    truths = decode(scenes.digits)
    different = next(id_ for id_ in ids if truths[id_][0] != truths[id_][1])
    judgement = told(
        scattered,
        50,
        {
            ids[0]: truths[ids[0]][:-1],
            different: [truths[different][1], truths[different][0], *truths[different][2:]],
            ids[3]: [(digit + 1) % 10 for digit in truths[ids[3]]],
        },
    )
    kinds = {name: these.nonzero()[:, 0].tolist() for name, these in judgement.error_types.items()}
    assert sum(map(len, kinds.values())) == len(judgement.error_ids)
    assert different in kinds["the right digits in another order"]
    if different != ids[0]:
        assert kinds["wrong number of digits"] == [ids[0]]
    assert judgement.edit_distances[ids[3]] > 0
    assert (judgement.edit_distances > 0).sum() == len(judgement.error_ids)


def test_a_reading_that_does_not_end_is_that_kind_of_error() -> None:
    readout = DecodeOutput(torch.tensor([[1, 2]]), torch.zeros(1, 2), torch.zeros(1), torch.tensor([False]))
    found = metrics.classify_errors(metrics.compute_scene_metrics(readout, torch.tensor([[1, 2]])))
    assert [name for name, these in found.items() if these.any()] == ["it did not end"]


@pytest.mark.parametrize(
    ("read", "truth", "many"),
    [([], [], 0), ([1, 2], [1, 2], 0), ([1], [1, 2], 1), ([2, 1], [1, 2], 2), ([9, 1, 2], [1, 2], 1), ([], [4, 4], 2)],
)
def test_edits_are_levenshteins(read: list[int], truth: list[int], many: int) -> None:
    assert metrics.edit_distance(read, truth) == metrics.edit_distance(truth, read) == many


def test_right_digits_of_a_set_are_as_many_as_go_together() -> None:
    truth = torch.tensor([[1, 2, 2, PAD], [3, 3, 3, 5]])
    readout = DecodeOutput(torch.tensor([[2, 2, 2], [5, 3, PAD]]), torch.zeros(2, 3), torch.zeros(2), torch.ones(2) > 0)
    right = metrics.correct_digit_mask(readout, truth, ordered=False)
    assert right.tolist() == [[False, True, True, False], [True, False, False, True]]
    in_order = metrics.correct_digit_mask(readout, truth)
    assert in_order.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert not (in_order & (truth >= NUM_DIGITS)).any()


@pytest.mark.parametrize("preset", ["grid", "single", "scatter", "line", "overlap", "cluttered", "mixed"])
def test_margins_are_told_where_the_order_hangs_on_pixels(preset: str, uci: DigitSource, tmp_path: Path) -> None:
    composed = cli.compose("train", [f"data={preset}", "data.digits=uci"]).config
    data = cli.to_dataclass(composed, TrainConfig).data
    margins = SyntheticDataset(data, uci.pools["val"]).order_margins(torch.arange(40))
    assert (margins is not None) == (preset == "scatter")
    assert margins is None or (margins >= data.order_margin).all()


@pytest.mark.parametrize(
    ("read", "truth", "pairs"),
    [
        ([2, 3, 4], [1, 2, 3, 4], [(PAD, 1), (2, 2), (3, 3), (4, 4)]),
        ([1, 2, 9, 3], [1, 2, 3], [(1, 1), (2, 2), (9, PAD), (3, 3)]),
        ([1, 7], [1, 4, 9], [(1, 1), (PAD, 4), (7, 9)]),
        ([], [5], [(PAD, 5)]),
        ([], [], []),
    ],
)
def test_readings_are_aligned_by_the_fewest_edits(
    read: list[int], truth: list[int], pairs: list[tuple[int, int]]
) -> None:
    found = metrics.align(read, truth)
    assert found == pairs
    fewest = edit_distance("".join(map(str, read)), "".join(map(str, truth)), reduction="sum")
    assert sum(one != other for one, other in found) == metrics.edit_distance(read, truth) == int(fewest)


def test_a_missing_digit_and_a_wrong_order_are_no_confusions() -> None:
    truth = torch.tensor([[1, 2, 3, 4], [5, 6, PAD, PAD], [7, 8, 9, PAD]])
    read = torch.tensor([[2, 3, 4, PAD], [6, 5, PAD, PAD], [7, 0, 9, PAD]])
    readout = DecodeOutput(read, torch.zeros(3, 4), torch.zeros(3), torch.ones(3) > 0)
    counts = metrics.confusion_matrix(readout, truth)
    assert counts.sum() == 9
    assert {tuple(it) for it in (counts - torch.eye(10, 11).long() * counts).nonzero().tolist()} == {(1, 10), (8, 0)}
