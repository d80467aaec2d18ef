"""Taking times: side by side, in turn, warm, and as the median of many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

Work = Callable[[], Any]


class Figure(NamedTuple):
    """Something that was measured, many times."""

    what: str
    unit: str
    least: float
    median: float
    most: float


def in_turn(works: Mapping[str, Work], repeats: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of each run of each work: in every round one run of each, after rounds to warm up.

    What slows the machine down for a while slows all of them down, so compare round by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(warm_up + repeats):
        for name, work in works.items():
            _wait()
            since = time.perf_counter()
            work()
            _wait()
            seconds[name].append(time.perf_counter() - since)
    return {name: taken[warm_up:] for name, taken in seconds.items()}


def spread(what: str, unit: str, values: Iterable[float]) -> Figure:
    """Least, median and most."""
    values = list(values)
    return Figure(what, unit, min(values), median(values), max(values))


def rate(what: str, scenes: int, seconds: Iterable[float]) -> Figure:
    """Scenes a second, of so many scenes a run."""
    return spread(what, "scenes/s", (scenes / taken for taken in seconds))


def ratio(what: str, above: Iterable[float], below: Iterable[float], unit: str = "times") -> Figure:
    """One by the other, round by round; in per cent where the unit says so."""
    whole = 100 if unit == "%" else 1
    return spread(what, unit, (whole * one / other for one, other in zip(above, below, strict=True)))


def _wait() -> None:
    """Until an accelerator has done what it was given."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
