"""Reading orders equal a straightforward implementation of the protocol, one scene at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_seq.data import reading_order

Corner = tuple[float, float]
SIDE = 28


def rows_in_order(name: str, corners: list[Corner]) -> list[list[int]]:
    """The rows of a scene, each with its digits in reading order; a single row if the order has none."""
    if name == "left_to_right":
        return [sorted(range(len(corners)), key=lambda i: corners[i])]
    if name == "raster":
        return [sorted(range(len(corners)), key=lambda i: corners[i][::-1])]
    remaining, rows = set(range(len(corners))), []
    while remaining:
        topmost = min(corners[i][1] for i in remaining)
        row = {i for i in remaining if corners[i][1] - topmost < SIDE / 2}
        rows.append(sorted(row, key=lambda i: corners[i]))
        remaining -= row
    return rows


def move_one(corners: list[Corner], index: int, by: Corner) -> list[Corner]:
    return [(x + by[0], y + by[1]) if i == index else (x, y) for i, (x, y) in enumerate(corners)]


def batch(corners: list[Corner], slots: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    padded = [*corners, *[(0, 0)] * (slots - len(corners))]
    return torch.tensor([padded]).long(), torch.tensor([[i < len(corners) for i in range(slots)]])


scenes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6, unique=True)
names = st.sampled_from(["left_to_right", "raster", "rows"])


@given(names, scenes)
@settings(deadline=None, max_examples=300)
def test_orders_follow_the_protocol(name: str, corners: list[Corner]) -> None:
    keys = reading_order.sort_keys(name, *batch(corners), SIDE, torch.zeros(1, 6).long())
    expected = [i for row in rows_in_order(name, corners) for i in row]
    assert keys.argsort(dim=1, stable=True)[0, : len(corners)].tolist() == expected


@given(names, scenes, st.integers(0, 20))
@settings(deadline=None, max_examples=300)
def test_margin_means_that_no_smaller_move_changes_rows_or_order(name: str, corners: list[Corner], margin: int) -> None:
    steps = [step for step in (margin / 2, margin - 0.01) if step > 0]
    moves = [(sign * step, 0.0) for step in steps for sign in (1, -1)]
    moves += [(down, right) for right, down in moves]
    unchanged = all(
        rows_in_order(name, move_one(corners, index, move)) == rows_in_order(name, corners)
        for index in range(len(corners))
        for move in moves
    )
    assert bool(reading_order.has_margin(name, margin, *batch(corners), SIDE)) == (unchanged or margin == 0)


def test_set_order_is_by_class() -> None:
    corners, present = batch([(9, 9), (5, 5), (1, 1)])
    labels = torch.tensor([[7, 2, 4, 0, 0, 0]])
    keys = reading_order.sort_keys("set", corners, present, SIDE, labels)
    assert keys.argsort(dim=1, stable=True)[0, :3].tolist() == [1, 2, 0]
    assert reading_order.has_margin("set", 3, corners, present, SIDE).all()


def test_orders_read_an_example_as_a_person_would() -> None:
    """Two rows; the right digit of the upper one is a little higher than the left."""
    corners = [(0, 6), (30, 0), (2, 33), (31, 30)]
    assert rows_in_order("rows", corners) == [[0, 1], [2, 3]]
    assert rows_in_order("left_to_right", corners) == [[0, 2, 1, 3]]
    assert rows_in_order("raster", corners) == [[1, 0, 3, 2]]
    for name, has_margin in (("rows", True), ("left_to_right", False), ("raster", True)):
        assert bool(reading_order.has_margin(name, 2, *batch(corners), SIDE)) == has_margin


@pytest.mark.parametrize("slots", [1, 6])
def test_scene_without_digits_has_any_margin(slots: int) -> None:
    for name in ("left_to_right", "raster", "rows", "set"):
        assert reading_order.has_margin(name, 2, *batch([], slots), SIDE).all()


@given(names, scenes)
@settings(deadline=None, max_examples=100)
def test_margin_is_the_largest_that_holds(name: str, corners: list[Corner]) -> None:
    margin = int(reading_order.margin(name, *batch(corners), SIDE))
    assert bool(reading_order.has_margin(name, margin, *batch(corners), SIDE))
    assert not bool(reading_order.has_margin(name, margin + 1, *batch(corners), SIDE))
    assert (margin > 100) == (len(corners) < 2), "a single digit has no order that could change"
