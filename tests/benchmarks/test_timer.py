"""Timing: which rounds count, in which order workloads run, and how rounds are summarized."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from mnist_seq.benchmarks import timer
from mnist_seq.benchmarks.timer import ratio, speedups, summarize, throughput, time_interleaved


def test_workloads_are_interleaved_and_warmup_rounds_do_not_count() -> None:
    calls: list[str] = []
    seconds = time_interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * (2 + 3)
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 3, "b": 3}


def test_each_workload_is_charged_only_for_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr(timer, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    seconds = time_interleaved({"slow": lambda: [next(clock) for _ in range(9)], "quick": lambda: None}, repeats=3)
    assert seconds == {"slow": [10] * 3, "quick": [1] * 3}


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which everything was slow does not change a ratio."""
    ours, other = [1.0, 10.0, 2.0], [2.0, 20.0, 4.0]
    assert ratio("speedup", other, ours)[1:] == ("x", 2, 2, 2)
    assert ratio("share", ours, other, "%")[1:] == ("%", 50, 50, 50)
    assert speedups("step", {"ours": ours, "other": other}) == [("step, speedup over other", "x", 2, 2, 2)]
    with pytest.raises(ValueError, match="zip"):
        ratio("speedup", other, ours[:2])


def test_a_summary_holds_minimum_median_and_maximum() -> None:
    assert summarize("it", "s", [3.0, 1.0, 2.0])[1:] == ("s", 1, 2, 3)
    assert throughput("it", 64, [2.0, 0.5, 1.0])[1:] == ("scenes/s", 32, 64, 128)
