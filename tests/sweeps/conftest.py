"""A sweep on disk, as far as summaries read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mnist_seq.run_dir import Run
from mnist_seq.sweeps.sweep_runs import VAL_METRICS, SweepRun, find_runs, load_runs


def write_run(directory: Path, exact_match: float, overrides: list[str], seed: int, **more: Any) -> None:
    """Write the metrics.json of a finished run."""
    metrics: dict[str, Any] = {
        "val": dict.fromkeys(VAL_METRICS, 0.5) | {"exact_match": exact_match},
        "seed": seed,
        "overrides": overrides,
        "parameters": 9,
        "steps": 3,
        "scenes": 6,
        "scenes_per_second": 7.0,
        "seconds": 1.0,
    }
    directory.mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps(metrics | more))


def fall_back_on_uci(sweep: Path) -> list[SweepRun]:
    """Make the runs of seed 1 those that found no MNIST and trained on the fallback digits."""
    for path in sweep.glob("*/metrics.json"):
        run = Run(path.parent)
        fallback = run.metrics.get("seed") == 1
        run.update_metrics(digits="uci" if fallback else "mnist", notice="NOT MNIST: uci" if fallback else "")
    return load_runs(find_runs(sweep))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Three seeds of model.norm=pre and two of post, and a run that has only begun."""
    jobs = [("pre", 0, 0.8), ("post", 0, 0.6), ("pre", 1, 0.9), ("post", 1, 0.7), ("pre", 2, 1.0)]
    for number, (norm, seed, exact_match) in enumerate(jobs):
        overrides = ["data=grid", f"model.norm={norm}", "+trainer.profiler=simple", f"seed={seed}"]
        write_run(tmp_path / str(number), exact_match, overrides, seed)
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "metrics.json").write_text('{"id": "begun"}')
    return tmp_path
