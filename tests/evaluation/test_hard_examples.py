"""Source digits that are often misread."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.evaluation.hard_examples import HardExample, find_hard_examples
from mnist_seq.evaluation.predictions import Predictions
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import PAD


def make_predictions(
    predicted: list[list[int]], digits: list[list[int]], sources: list[list[int]], ordered: bool = True
) -> Predictions:
    shape = (len(predicted), len(predicted[0]))
    output = DecodeOutput(
        torch.tensor(predicted), torch.zeros(shape), torch.zeros(shape[0]), torch.ones(shape[0], dtype=bool)
    )
    boxes = torch.zeros(*torch.tensor(digits).shape, 4)
    return Predictions("test", output, torch.tensor(digits), boxes, torch.tensor(sources), ordered, None, 0.0)


def test_source_digit_is_counted_in_every_scene_that_shows_it() -> None:
    predictions = make_predictions(
        predicted=[[1, 2, PAD], [9, 2, PAD], [9, PAD, PAD], [3, 1, PAD], [5, 5, 5]],
        digits=[[1, 2], [4, 2], [4, PAD], [2, 1], [7, 7]],
        sources=[[10, 20], [40, 20], [40, -1], [20, 10], [70, 71]],
    )
    assert find_hard_examples(predictions) == [HardExample(40, 4, 9, 2, 2), HardExample(20, 2, 3, 1, 3)], (
        "the last prediction has one digit too many"
    )


def test_hard_example_names_its_most_frequent_wrong_prediction() -> None:
    predictions = make_predictions([[3], [5], [5], [8]], [[8]] * 4, [[1]] * 4)
    assert find_hard_examples(predictions) == [HardExample(1, 8, 5, 3, 4)]


def test_output_with_fewer_slots_than_the_label_is_padded() -> None:
    assert find_hard_examples(make_predictions([[3]], [[8, PAD]], [[1, -1]])) == [HardExample(1, 8, 3, 1, 1)]


def test_unordered_predictions_have_no_hard_examples() -> None:
    with pytest.raises(ValueError, match="unordered predictions"):
        find_hard_examples(make_predictions([[3]], [[8]], [[1]], ordered=False))
