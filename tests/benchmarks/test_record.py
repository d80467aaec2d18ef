"""Suite record: a record takes five seeds that exceed the target, and less time than the standing one."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_seq.benchmarks import record
from mnist_seq.benchmarks.record import Attempt, Contender, Recipe
from mnist_seq.config import BenchConfig
from mnist_seq.errors import UserError

ABOVE = [0.9650, 0.9660, 0.9670, 0.9655, 0.9665]
NOT_ABOVE = [0.9600, 0.9660, 0.9700, 0.9610, 0.9650]
SLOW, FAST = [40.0, 50.0, 42.0, 41.0, 60.0], [36.0, 46.0, 37.0, 37.0, 54.0]


def contender(scores: list[float], seconds: list[float]) -> Contender:
    attempts = [Attempt(score, time, 46_080, "0123456789") for score, time in zip(scores, seconds, strict=True)]
    return Contender(Recipe(["experiment=grid_speedrun"], 0.9635), attempts)


@pytest.mark.parametrize(
    ("scores", "seconds", "expected"),
    [
        (ABOVE, FAST, "A new record: above 96.35%"),
        (NOT_ABOVE, FAST, "No record: above 96.35% with p = 0.32"),
        (ABOVE, SLOW, "No record: above 96.35% with p = 0.0011, but 1.00 times the seconds, fewer with p = 1;"),
        (ABOVE, [30.0, 55.0, 41.0, 42.0, 50.0], "No record: above 96.35%"),
    ],
)
def test_challenger_needs_both_the_score_and_less_time(
    scores: list[float], seconds: list[float], expected: str
) -> None:
    assert record.verdict([contender(ABOVE, SLOW), contender(scores, seconds)]).startswith(expected)


def test_record_alone_is_held_to_its_target() -> None:
    assert record.verdict([contender(ABOVE, SLOW)]) == "The record holds: above 96.35% with p = 0.0011."
    assert record.verdict([contender(NOT_ABOVE, SLOW)]).startswith("No record")
    assert record.verdict([contender([0.96] * 5, SLOW)]).startswith("No record: above 96.35% with p = 1;")


def test_row_has_as_many_cells_as_the_heading() -> None:
    heading, _, row, *_ = record.to_markdown([contender(ABOVE, SLOW)]).splitlines()
    assert row.count("|") == heading.count("|")
    assert "| 46,080 | 42 (40 to 60) | 96.60 ± 0.08 | 0.0011 | `experiment=grid_speedrun` |" in row


@pytest.mark.parametrize("experiment", ["grid_speedrun", "single_speedrun"])
def test_recipes_of_the_records_have_a_target_and_one_validation(experiment: str) -> None:
    standing, challenger = record.load_recipes(experiment, ["optim.lr=5e-3"])
    assert standing.target == challenger.target > 0.9
    assert challenger.overrides == [f"experiment={experiment}", "optim.lr=5e-3"]


def test_recipe_that_would_be_judged_unfairly_is_refused() -> None:
    with pytest.raises(UserError, match="validated every 360 steps: set trainer.val_check_interval to .*=300"):
        record.load_recipes("grid_speedrun", ["trainer.max_steps=300"])
    with pytest.raises(UserError, match="experiment=grid has no target: choose an experiment with callbacks=reached"):
        record.load_recipes("grid", [])


def test_contenders_are_trained_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained: list[str] = []

    def train(overrides: list[str], run_dir: Path) -> Attempt:
        trained.append(" ".join(overrides))
        return Attempt(0.97, 1.0, 128, "")

    monkeypatch.setattr(record, "_train", train)
    contenders = record.train_contenders([Recipe(["a"], 0.9), Recipe(["a", "b"], 0.9)], tmp_path, trained.append)
    assert [len(it.attempts) for it in contenders] == [5, 5]
    assert trained[:6] == ["a seed=0", "a seed=0: 97.00% in 1 s", "a b seed=0", "a b seed=0: 97.00% in 1 s", "a seed=1",
                           "a seed=1: 97.00% in 1 s"]  # fmt: skip


def test_keys_are_read_by_the_suite_alone() -> None:
    with pytest.raises(UserError, match="challenger=.* is read by suite=record alone"):
        BenchConfig("rendering", challenger=["seed=1"])
    assert "record" not in BenchConfig().suites


def test_an_attempt_is_a_run(tmp_path: Path) -> None:
    tiny = ["model.dim=16", "model.num_heads=2", "data.digits=uci", "data.val_scenes=50", "trainer.max_steps=2"]
    attempt = record._train(["experiment=grid_speedrun", *tiny, "data.batch_size=4", "seed=0"], tmp_path / "run")
    assert attempt.num_scenes == 8
    assert 0 <= attempt.exact_match <= 1
    assert attempt.seconds > 0
    with pytest.raises(UserError, match=r"experiment=grid_speedrun seed=0 data.batch_size=0 failed: mnist_seq: data"):
        record._train(["experiment=grid_speedrun", "seed=0", "data.batch_size=0"], tmp_path / "failed")
