"""Timing of interleaved workloads, summarized by the median of many rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

import torch

Workload = Callable[[], Any]


class Measurement(NamedTuple):
    """A quantity that was measured in several rounds."""

    name: str
    unit: str
    minimum: float
    median: float
    maximum: float


def time_interleaved(workloads: Mapping[str, Workload], repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Time workloads in rounds, each round running every workload once.

    Other load on the machine then slows all workloads alike: compare them round by round.

    Args:
        workloads: by name.
        repeats: rounds that count.
        warmup: rounds before them that do not count.

    Returns:
        Name -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workloads}
    for _ in range(warmup + repeats):
        for name, workload in workloads.items():
            synchronize()
            start = time.perf_counter()
            workload()
            synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: rounds[warmup:] for name, rounds in seconds.items()}


def summarize(name: str, unit: str, values: Iterable[float]) -> Measurement:
    """Minimum, median and maximum of values."""
    values = list(values)
    return Measurement(name, unit, min(values), median(values), max(values))


def throughput(name: str, num_scenes: int, seconds: Iterable[float]) -> Measurement:
    """Scenes per second, where each round took `seconds` for `num_scenes` scenes."""
    return summarize(name, "scenes/s", (num_scenes / it for it in seconds))


def ratio(name: str, numerators: Iterable[float], denominators: Iterable[float], unit: str = "x") -> Measurement:
    """Ratio of two quantities, round by round; a percentage if the unit is %.

    Raises:
        ValueError: the numbers of rounds differ.
    """
    scale = 100 if unit == "%" else 1
    return summarize(name, unit, (scale * one / other for one, other in zip(numerators, denominators, strict=True)))


def speedups(name: str, seconds: Mapping[str, list[float]]) -> list[Measurement]:
    """Speedup of the workload "ours" over each of the others, round by round."""
    return [
        ratio(f"{name}, speedup over {other}", rounds, seconds["ours"])
        for other, rounds in seconds.items()
        if other != "ours"
    ]


def synchronize() -> None:
    """Wait until the accelerator, if there is one, has finished all queued work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
