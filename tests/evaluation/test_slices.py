"""Slices, error types, edit distances and confusions."""

from __future__ import annotations

import pytest
import torch
from torchmetrics.functional.text import edit_distance

from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import ScatterConfig, TrainConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.sources import DigitSource
from mnist_seq.evaluation import metrics
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.evaluation.predictions import max_box_iou
from mnist_seq.nn import build
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import NUM_DIGITS, PAD, decode
from tests.conftest import tiny_models


def make_result(scenes: SyntheticDataset, num_scenes: int, wrong: dict[int, list[int]]) -> EvalResult:
    """The result of a model that predicts all scenes correctly but these."""
    digits = scenes[:num_scenes].digits.clone()
    for id_, predicted in wrong.items():
        digits[id_] = torch.tensor(predicted + [PAD] * (digits.shape[1] - len(predicted)))
    log_probs = torch.zeros(digits.shape)
    output = DecodeOutput(digits, log_probs, -torch.arange(num_scenes) / num_scenes, torch.ones(num_scenes) > 0)
    model = build(tiny_models()["enc_dec"], scenes.spec)
    return evaluate_model(model, scenes, num_scenes, decode_fn=lambda images: output, batch_size=num_scenes)


@pytest.fixture
def scattered(uci: DigitSource) -> SyntheticDataset:
    return SyntheticDataset(ScatterConfig(overlap=0.3, order_margin=1, min_digits=1), uci.pools["val"])


def test_slices_add_up_to_the_whole(scattered: SyntheticDataset) -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = {id_: torch.randint(0, 10, (2,), generator=generator).tolist() for id_ in range(0, 300, 3)}
    result = make_result(scattered, 300, wrong)
    assert len(result.slices) >= 5
    exact_match, digit_accuracy = result.metrics["exact_match"], result.metrics["digit_accuracy"]
    for criterion, slices in result.slices.items():
        whole = exact_match if criterion.startswith("exact match") else digit_accuracy
        if "several" not in criterion:
            assert sum(it.proportion.total for it in slices) == whole.total
            assert sum(it.proportion.value * it.proportion.total for it in slices) == pytest.approx(
                whole.value * whole.total
            )
        else:
            assert sum(it.proportion.total for it in slices) == (scattered[:300].counts > 1).sum()
        assert all(it.proportion.low <= it.proportion.value <= it.proportion.high for it in slices)


def test_scene_counts_in_its_own_slices_only(scattered: SyntheticDataset) -> None:
    """A single wrong digit lowers the slices of its scene, and no others."""
    scenes = scattered[:200]
    id_ = int((scenes.counts == 3).nonzero()[0])
    truth = decode(scenes.digits)[id_]
    read = [*truth[:-1], (truth[-1] + 1) % 10]
    slices = make_result(scattered, 200, {id_: read}).slices
    lowered = {key: [it.name for it in group if it.proportion.value < 1] for key, group in slices.items()}
    assert lowered["exact match by sequence length"] == ["3"]
    assert lowered["digit accuracy by position"] == ["3"]
    assert lowered["digit accuracy by class"] == [str(truth[-1])]
    assert len(lowered["exact match by reading-order margin, px (scenes with several digits)"]) == 1
    assert len(lowered["exact match by largest box IoU (scenes with several digits)"]) == 1


def test_max_box_iou_is_the_intersection_over_union() -> None:
    boxes = torch.tensor([[[0, 0, 4, 4], [2, 0, 6, 4], [9, 9, 10, 10]], [[0, 0, 4, 4], [4, 0, 8, 4], [0, 0, 0, 0]]])
    assert max_box_iou(boxes).tolist() == pytest.approx([8 / 24, 0])


def test_wrong_prediction_has_exactly_one_error_type(scattered: SyntheticDataset) -> None:
    scenes = scattered[:50]
    ids = (scenes.counts >= 2).nonzero()[:4, 0].tolist()
    truths = decode(scenes.digits)
    different = next(id_ for id_ in ids if truths[id_][0] != truths[id_][1])
    result = make_result(
        scattered,
        50,
        {
            ids[0]: truths[ids[0]][:-1],
            different: [truths[different][1], truths[different][0], *truths[different][2:]],
            ids[3]: [(digit + 1) % 10 for digit in truths[ids[3]]],
        },
    )
    error_types = {name: these.nonzero()[:, 0].tolist() for name, these in result.error_types.items()}
    assert sum(map(len, error_types.values())) == len(result.error_ids)
    assert different in error_types["the right digits in another order"]
    if different != ids[0]:
        assert error_types["wrong number of digits"] == [ids[0]]
    assert result.edit_distances[ids[3]] > 0
    assert (result.edit_distances > 0).sum() == len(result.error_ids)


def test_prediction_without_eos_is_its_own_error_type() -> None:
    output = DecodeOutput(torch.tensor([[1, 2]]), torch.zeros(1, 2), torch.zeros(1), torch.tensor([False]))
    found = metrics.classify_errors(metrics.compute_scene_metrics(output, torch.tensor([[1, 2]])))
    assert [name for name, these in found.items() if these.any()] == ["it did not end"]


@pytest.mark.parametrize(
    ("predicted", "target", "distance"),
    [([], [], 0), ([1, 2], [1, 2], 0), ([1], [1, 2], 1), ([2, 1], [1, 2], 2), ([9, 1, 2], [1, 2], 1), ([], [4, 4], 2)],
)
def test_edit_distance_is_levenshteins(predicted: list[int], target: list[int], distance: int) -> None:
    assert metrics.edit_distance(predicted, target) == metrics.edit_distance(target, predicted) == distance


def test_correct_digits_of_a_set_match_one_to_one() -> None:
    truth = torch.tensor([[1, 2, 2, PAD], [3, 3, 3, 5]])
    output = DecodeOutput(torch.tensor([[2, 2, 2], [5, 3, PAD]]), torch.zeros(2, 3), torch.zeros(2), torch.ones(2) > 0)
    right = metrics.correct_digit_mask(output, truth, ordered=False)
    assert right.tolist() == [[False, True, True, False], [True, False, False, True]]
    in_order = metrics.correct_digit_mask(output, truth)
    assert in_order.tolist() == [[False, True, True, False], [False, True, False, False]]
    assert not (in_order & (truth >= NUM_DIGITS)).any()


@pytest.mark.parametrize("preset", ["grid", "single", "scatter", "line", "string", "overlap", "cluttered", "mixed"])
def test_order_margins_exist_only_where_the_order_depends_on_pixels(
    preset: str, uci: DigitSource, tmp_path: Path
) -> None:
    composed = compose("train", [f"data={preset}", "data.digits=uci"]).config
    data = to_dataclass(composed, TrainConfig).data
    margins = SyntheticDataset(data, uci.pools["val"]).order_margins(torch.arange(40))
    assert (margins is not None) == (preset == "scatter")
    assert margins is None or (margins >= data.order_margin).all()


@pytest.mark.parametrize(
    ("predicted", "target", "pairs"),
    [
        ([2, 3, 4], [1, 2, 3, 4], [(PAD, 1), (2, 2), (3, 3), (4, 4)]),
        ([1, 2, 9, 3], [1, 2, 3], [(1, 1), (2, 2), (9, PAD), (3, 3)]),
        ([1, 7], [1, 4, 9], [(1, 1), (PAD, 4), (7, 9)]),
        ([], [5], [(PAD, 5)]),
        ([], [], []),
    ],
)
def test_alignment_has_the_fewest_edits(predicted: list[int], target: list[int], pairs: list[tuple[int, int]]) -> None:
    found = metrics.align(predicted, target)
    assert found == pairs
    fewest = edit_distance("".join(map(str, predicted)), "".join(map(str, target)), reduction="sum")
    assert sum(one != other for one, other in found) == metrics.edit_distance(predicted, target) == int(fewest)


def test_missing_digit_or_wrong_order_is_no_confusion() -> None:
    truth = torch.tensor([[1, 2, 3, 4], [5, 6, PAD, PAD], [7, 8, 9, PAD]])
    read = torch.tensor([[2, 3, 4, PAD], [6, 5, PAD, PAD], [7, 0, 9, PAD]])
    output = DecodeOutput(read, torch.zeros(3, 4), torch.zeros(3), torch.ones(3) > 0)
    counts = metrics.confusion_matrix(output, truth)
    assert counts.sum() == 9
    assert {tuple(it) for it in (counts - torch.eye(10, 11).long() * counts).nonzero().tolist()} == {(1, 10), (8, 0)}
