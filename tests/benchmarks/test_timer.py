"""Taking times: what is counted, and in which order."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from mnist_seq.benchmarks import timer
from mnist_seq.benchmarks.timer import ratio, summarize, throughput, time_interleaved


def test_works_run_in_turn_and_warm_up_uncounted() -> None:
    ran: list[str] = []
    taken = time_interleaved({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, repeats=3)
    assert ran == ["a", "b"] * (2 + 3)
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 3, "b": 3}


def test_a_work_is_charged_for_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now = count()
    monkeypatch.setattr(timer, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    taken = time_interleaved({"slow": lambda: [next(now) for _ in range(9)], "quick": lambda: None}, repeats=3)
    assert taken == {"slow": [10] * 3, "quick": [1] * 3}


def test_figures_are_of_rounds_not_of_medians() -> None:
    """A round in which all was slow says nothing of one against the other."""
    ours, theirs = [1.0, 10.0, 2.0], [2.0, 20.0, 4.0]
    assert ratio("as fast", theirs, ours)[1:] == ("times", 2, 2, 2)
    assert ratio("of that", ours, theirs, "%")[1:] == ("%", 50, 50, 50)
    assert summarize("it", "s", [3.0, 1.0, 2.0])[1:] == ("s", 1, 2, 3)
    assert throughput("it", 64, [2.0, 0.5, 1.0])[1:] == ("scenes/s", 32, 64, 128)
    with pytest.raises(ValueError, match="zip"):
        ratio("as fast", theirs, ours[:2])
