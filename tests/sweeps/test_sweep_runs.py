"""Runs of a sweep: what tells them apart, and which of them are averaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import mnist_seq
from mnist_seq.run_dir import Run
from mnist_seq.sweeps.sweep_runs import aggregate_over_seeds, find_runs, load_runs
from tests.sweeps.conftest import fall_back_on_uci, write_run


def test_runs_that_differ_only_in_their_seed_are_averaged(sweep: Path) -> None:
    runs = load_runs(find_runs(sweep))
    assert [(run.overrides, run.seed) for run in runs][:2] == [({"model.norm": "pre"}, 0), ({"model.norm": "post"}, 0)]
    groups = aggregate_over_seeds(runs)
    assert groups["norm=pre"]["exact_match"] == pytest.approx((0.9, 0.1, 3))
    assert groups["norm=post"]["exact_match"] == pytest.approx((0.65, 0.0707107, 2))


def test_a_run_without_some_metric_still_counts(sweep: Path) -> None:
    """Older versions recorded fewer metrics."""
    metrics = json.loads((sweep / "0" / "metrics.json").read_text())
    del metrics["scenes"]
    (sweep / "0" / "metrics.json").write_text(json.dumps(metrics))
    runs = load_runs(find_runs(sweep))
    assert len(runs) == 5
    assert math.isnan(runs[0].metrics["scenes"])
    assert aggregate_over_seeds(runs)["norm=pre"]["exact_match"] == pytest.approx((0.9, 0.1, 3))
    assert aggregate_over_seeds(runs)["norm=pre"]["scenes"] == (6, 0, 3)


def test_group_names_use_full_keys_where_last_parts_are_ambiguous(sweep: Path) -> None:
    for path in sweep.glob("*"):
        if "overrides" in Run(path).metrics:
            Run(path).update_metrics(overrides=[*Run(path).metrics["overrides"], f"callbacks.ema.norm={path.name}"])
    names = aggregate_over_seeds(load_runs(find_runs(sweep)))
    assert all("model.norm=" in name and "callbacks.ema.norm=" in name for name in names)


def test_runs_on_different_digits_are_averaged_separately(sweep: Path) -> None:
    groups = aggregate_over_seeds(fall_back_on_uci(sweep))
    assert {name: (metrics["exact_match"][0], metrics["exact_match"][2]) for name, metrics in groups.items()} == {
        "norm=pre digits=mnist": (pytest.approx(0.9), 2),
        "norm=post digits=mnist": (pytest.approx(0.6), 1),
        "norm=pre digits=uci": (pytest.approx(0.9), 1),
        "norm=post digits=uci": (pytest.approx(0.7), 1),
    }


def test_runs_with_equal_overrides_but_different_configs_are_averaged_separately(sweep: Path) -> None:
    """For instance because a preset was edited between them."""
    for path in sweep.glob("*/metrics.json"):
        config = mnist_seq.compose("data=grid")
        config.seed = Run(path.parent).metrics.get("seed", 0)
        config.trainer.threads = config.seed + 1  # hardware keys tell no runs apart
        config.optim.weight_decay = 0.5 if config.seed == 2 else 0.05
        Run(path.parent).write_config(config)
    assert set(aggregate_over_seeds(load_runs(find_runs(sweep)))) == {
        "norm=pre weight_decay=0.05",
        "norm=post weight_decay=0.05",
        "norm=pre weight_decay=0.5",
    }


def test_neither_the_order_of_overrides_nor_the_folder_of_a_run_tells_runs_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0.8, ["model.dim=64", "optim.lr=1e-3", "hydra.run.dir=a"], seed=0)
    write_run(tmp_path / "b", 0.6, ["optim.lr=1e-3", "hydra.run.dir=b", "model.dim=64"], seed=1)
    write_run(tmp_path / "c", 0.5, ["model.dim=32", "optim.lr=1e-2"], seed=0)
    groups = aggregate_over_seeds(load_runs(find_runs(tmp_path)))
    assert {name: metrics["exact_match"][2] for name, metrics in groups.items()} == {
        "dim=64 lr=1e-3": 2,
        "dim=32 lr=1e-2": 1,
    }


def test_repeated_runs_of_a_seed_count_once(tmp_path: Path) -> None:
    for name, exact_match in (("a", 0.7), ("b", 0.8)):
        write_run(tmp_path / name, exact_match, ["model.dim=64"], seed=0)
    assert aggregate_over_seeds(load_runs(find_runs(tmp_path)))["default"]["exact_match"] == (0.8, 0.0, 1)
