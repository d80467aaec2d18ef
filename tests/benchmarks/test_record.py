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
    attempts = [Attempt(score, time, 46_080, 2, "0123456789") for score, time in zip(scores, seconds, strict=True)]
    return Contender(Recipe(["experiment=grid_speedrun"], 0.9635), attempts)


@pytest.mark.parametrize(
    ("scores", "seconds", "expected"),
    [
        (ABOVE, FAST, "A new record: exact match is above 96.35% (p = 0.0011), and training is faster (0.90 times"),
        (NOT_ABOVE, FAST, "Not a record: exact match is not significantly above 96.35% (p = 0.32; the rule"),
        (ABOVE, SLOW, "Not a record: exact match is above 96.35% (p = 0.0011), but training is not significantly"),
        (ABOVE, [30.0, 55.0, 41.0, 42.0, 50.0], "Not a record: exact match is above 96.35% (p = 0.0011), but training"),
        ([0.97] * 5, FAST, "Not a record: exact match is not significantly above 96.35% (p = 1;"),
        (ABOVE, [time - 1 for time in SLOW], "Not a record: exact match is above 96.35% (p = 0.0011), but training"),
    ],
)
def test_challenger_needs_both_the_score_and_less_time(
    scores: list[float], seconds: list[float], expected: str
) -> None:
    """Five equal numbers say nothing about the spread of other seeds."""
    assert record.verdict([contender(ABOVE, SLOW), contender(scores, seconds)]).startswith(expected)


def test_record_alone_is_held_to_its_target() -> None:
    assert record.verdict([contender(ABOVE, SLOW)]) == "The record holds: exact match is above 96.35% (p = 0.0011)."
    assert record.verdict([contender(NOT_ABOVE, SLOW)]).startswith("The record does not hold: exact match is not")


def test_row_has_as_many_cells_as_the_heading_and_notices_are_shown() -> None:
    heading, _, row, *rest = record.to_markdown([contender(ABOVE, SLOW)]).splitlines()
    assert row.count("|") == heading.count("|")
    assert "| 46,080 | 42 (40 to 60) | 96.60 ± 0.08 | 0.0011 | `experiment=grid_speedrun` |" in row
    assert len(rest) == 2
    on_uci = contender(ABOVE, SLOW)
    on_uci.attempts[3] = on_uci.attempts[3]._replace(notice="NOT MNIST")
    assert record.to_markdown([on_uci]).endswith("NOT MNIST")


@pytest.mark.parametrize("experiment", ["grid_speedrun", "single_speedrun"])
def test_recipes_of_the_records_have_a_target_and_one_validation(experiment: str) -> None:
    standing, challenger = record.load_recipes(experiment, ["optim.lr=5e-3", "data.batch_size=64", "model=tiny"])
    assert standing.target == challenger.target > 0.9
    assert challenger.overrides[:2] == [f"experiment={experiment}", "optim.lr=5e-3"]


@pytest.mark.parametrize(
    ("challenger", "key"),
    [
        ("callbacks.reached.stopping_threshold=0.5", "callbacks.reached.stopping_threshold"),
        ("callbacks=ema", "callbacks.reached._target_"),
        ("data.val_scenes=100", "data.val_scenes"),
        ("data.p_empty=0.9", "data.p_empty"),
        ("data.digits=uci", "data.digits"),
        ("data.pool=full", "data.pool"),
        ("init_from=pretrained:grid", "init_from"),
        ("+trainer.limit_val_batches=1", "trainer.limit_val_batches"),
        ("trainer.threads=8", "trainer.threads"),
    ],
)
def test_challenger_chooses_neither_how_it_is_scored_nor_where_it_starts(challenger: str, key: str) -> None:
    with pytest.raises(UserError, match=f"changes {key}, which must be as in the record"):
        record.load_recipes("grid_speedrun", [challenger])


def test_recipe_that_would_be_judged_unfairly_is_refused() -> None:
    for overrides in (["trainer.max_steps=300"], ["+trainer.accumulate_grad_batches=2"]):
        with pytest.raises(UserError, match="is validated every 560 batches, .*: set trainer.val_check_interval"):
            record.load_recipes("grid_speedrun", overrides)
    with pytest.raises(UserError, match="record=line has no target: choose an experiment with callbacks=reached"):
        record.load_recipes("line", [])


def test_contenders_are_trained_in_turn_with_the_same_threads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained: list[str] = []

    def train(overrides: list[str], run_dir: Path) -> Attempt:
        trained.append(" ".join(overrides))
        return Attempt(0.97, 1.0, 128, 3)

    monkeypatch.setattr(record, "_train", train)
    lines: list[str] = []
    contenders = record.train_contenders([Recipe(["a"], 0.9), Recipe(["b"], 0.9)], tmp_path / "runs", lines.append)
    assert [len(it.attempts) for it in contenders] == [5, 5]
    assert trained[:5] == ["a seed=100", *(f"{it} trainer.threads=3" for it in ("b seed=100", "b seed=101"))] + [
        f"{it} trainer.threads=3" for it in ("a seed=101", "a seed=102")
    ]
    assert lines[0] == "a seed=100: 97.00% in 1 s"
    tmp_path.joinpath("runs").mkdir()
    with pytest.raises(UserError, match="already holds runs: choose another output_dir"):
        record.train_contenders([], tmp_path / "runs", lines.append)


def test_keys_are_read_by_the_suite_alone() -> None:
    with pytest.raises(UserError, match="challenger=.* is read by suite=record alone"):
        BenchConfig("rendering", challenger=["seed=1"])
    assert "record" not in BenchConfig().suites


def test_an_attempt_is_a_run(tmp_path: Path) -> None:
    tiny = ["model.dim=16", "model.num_heads=2", "data.digits=uci", "data.val_scenes=50", "trainer.max_steps=2"]
    attempt = record._train(["experiment=grid_speedrun", *tiny, "data.batch_size=4", "seed=0"], tmp_path / "a=b,c")
    assert attempt.num_scenes == 8
    assert 0 <= attempt.exact_match <= 1
    assert attempt.seconds > 0
    assert attempt.threads >= 1
    with pytest.raises(UserError, match=r"experiment=grid_speedrun seed=0 data.batch_size=0 failed: mnist_seq: data"):
        record._train(["experiment=grid_speedrun", "seed=0", "data.batch_size=0"], tmp_path / "failed")
