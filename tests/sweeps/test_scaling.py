"""What a sweep's runs say of scaling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnist_seq.figures import trends
from mnist_seq.sweeps import scaling, table
from mnist_seq.sweeps.scaling import Point


def test_a_power_law_is_found_again() -> None:
    points = [Point("", 1e5, flops, 300 * flops**-0.25) for flops in (1e12, 3e12, 1e13, 1e14)]
    law = scaling.fit(points)
    assert law.exponent == pytest.approx(0.25)
    assert law.scale == pytest.approx(300)
    assert law.spread == pytest.approx(0, abs=1e-6)
    assert law(1e13) == pytest.approx(300 * 1e13**-0.25)


def test_the_frontier_is_what_no_cheaper_run_beats() -> None:
    points = [Point(name, 1, flops, error) for name, flops, error in (("a", 1, 0.5), ("b", 2, 0.6), ("c", 3, 0.2))]
    assert [point.name for point in scaling.frontier(points)] == ["a", "c"]


def test_points_are_of_seeds_together_and_cheapest_first(tmp_path: Path) -> None:
    for job, (dim, seed, exact) in enumerate([(64, 0, 0.8), (32, 0, 0.6), (64, 1, 0.9), (32, 1, 0.5), (16, 0, 1.0)]):
        val = dict.fromkeys(table.FIGURES, 0.5) | {"exact_match": exact}
        metrics = {"val": val, "seed": seed, "overrides": [f"model.dim={dim}"], "parameters": dim, "flops": 100 * dim}
        (tmp_path / str(job)).mkdir()
        (tmp_path / str(job) / "metrics.json").write_text(json.dumps(metrics))
    points = scaling.points_of(tmp_path)
    assert [(it.parameters, it.flops) for it in points] == [(32, 3200), (64, 6400)], "16 reads all right"
    assert [it.error for it in points] == pytest.approx([0.45, 0.15])
    figure = trends.scaling(points, points, scaling.fit(points))
    assert [it.get_text() for it in figure.axes[0].get_legend().get_texts()][:2] == ["0 k parameters"] * 2
