"""Taking times: side by side, in turn, warm, and as the median of many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

Workload = Callable[[], Any]


class Measurement(NamedTuple):
    """Something that was measured, many times."""

    name: str
    unit: str
    minimum: float
    median: float
    maximum: float


def time_interleaved(workloads: Mapping[str, Workload], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each run of each work: in every round one run of each, after rounds to warm up.

    What slows the machine down for a while slows all of them down, so compare round by round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(warmup + repeats):
        for name, work in workloads.items():
            _synchronize()
            since = time.perf_counter()
            work()
            _synchronize()
            seconds[name].append(time.perf_counter() - since)
    return {name: taken[warmup:] for name, taken in seconds.items()}


def summarize(name: str, unit: str, values: Iterable[float]) -> Measurement:
    """Least, median and most."""
    values = list(values)
    return Measurement(name, unit, min(values), median(values), max(values))


def throughput(name: str, num_scenes: int, seconds: Iterable[float]) -> Measurement:
    """Scenes a second, of so many scenes a run."""
    return summarize(name, "scenes/s", (num_scenes / taken for taken in seconds))


def ratio(name: str, numerators: Iterable[float], denominators: Iterable[float], unit: str = "times") -> Measurement:
    """One by the other, round by round; in per cent where the unit says so."""
    whole = 100 if unit == "%" else 1
    return summarize(name, unit, (whole * one / other for one, other in zip(numerators, denominators, strict=True)))


def _synchronize() -> None:
    """Until an accelerator has done what it was given."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
