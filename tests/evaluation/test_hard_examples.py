"""Which digits are misread."""

from __future__ import annotations

import pytest
import torch

from mnist_seq.evaluation.eval_result import Predictions
from mnist_seq.evaluation.hard_examples import HardExample, find_hard_examples
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.vocabulary import PAD


def readings(
    read: list[list[int]], digits: list[list[int]], sources: list[list[int]], ordered: bool = True
) -> Predictions:
    shape = (len(read), len(read[0]))
    readout = DecodeOutput(
        torch.tensor(read), torch.zeros(shape), torch.zeros(len(read)), torch.ones(len(read), dtype=bool)
    )
    boxes = torch.zeros(*torch.tensor(digits).shape, 4)
    return Predictions("test", readout, torch.tensor(digits), boxes, torch.tensor(sources), ordered, None, 0.0)


def test_each_digit_is_counted_wherever_it_turns_up() -> None:
    found = readings(
        read=[[1, 2, PAD], [9, 2, PAD], [9, PAD, PAD], [3, 1, PAD], [5, 5, 5]],
        digits=[[1, 2], [4, 2], [4, PAD], [2, 1], [7, 7]],
        sources=[[10, 20], [40, 20], [40, -1], [20, 10], [70, 71]],
    )
    assert find_hard_examples(found) == [HardExample(40, 4, 9, 2, 2), HardExample(20, 2, 3, 1, 3)], (
        "the last has one digit too many"
    )


def test_what_is_taken_for_several_is_told_by_the_most_frequent() -> None:
    found = readings([[3], [5], [5], [8]], [[8]] * 4, [[1]] * 4)
    assert find_hard_examples(found) == [HardExample(1, 8, 5, 3, 4)]


def test_a_reading_with_fewer_places_than_digits_misses_them() -> None:
    assert find_hard_examples(readings([[3]], [[8, PAD]], [[1, -1]])) == [HardExample(1, 8, 3, 1, 1)]


def test_sets_have_no_places() -> None:
    with pytest.raises(ValueError, match="without an order"):
        find_hard_examples(readings([[3]], [[8]], [[1]], ordered=False))
