"""Scenes rendered a second: ours, a per-sample DataLoader's, and what memory allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from mnist_seq.timing.clock import Figure, in_turn, rate, ratio

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig
    from mnist_seq.data.scenes import Scenes
    from mnist_seq.data.sets import SceneSet

PRESETS = (
    *("single", "grid", "grid_3x3", "scatter", "scatter_96", "scatter_96_clear", "scatter_8", "line", "overlap"),
    *("multimnist_s4", "cluttered"),
)
_WORKERS = 2


def scenes(config: BenchConfig) -> list[Figure]:
    """Scenes rendered a second, by preset and distortion, and how fast memory copies their images."""
    figures = []
    for preset in PRESETS:
        works = {f"{preset}, {augment}": renderer(preset, augment, config) for augment in ("none", "light", "strong")}
        images = works[f"{preset}, none"]().images
        taken = in_turn({**works, f"{preset}, images copied": images.clone}, config.repeats)
        figures += [rate(name, config.batch_size, seconds) for name, seconds in taken.items()]
    return figures


def loaders(config: BenchConfig) -> list[Figure]:
    """The same scenes one by one from a DataLoader with two workers, and ours beside, in turn."""
    from mnist_seq.timing.rivals import loader

    figures = []
    batch = config.batch_size
    for preset in PRESETS:
        for augment in ("none", "light"):
            drawn: Any = scene_set(preset, augment)
            render = renderer(preset, augment, config)
            theirs, ours = [], []
            for _ in range(max(3, config.repeats // 10)):
                ready = iter(loader(drawn.config, drawn.pool, 60 * batch, batch, _WORKERS, augment != "none"))
                for _ in range(8):  # what the workers made while they started
                    next(ready)
                began = time.perf_counter()
                batches = sum(1 for _ in ready)
                theirs.append((time.perf_counter() - began) / batches)
                del ready
                ours.append(median(in_turn({"ours": render}, config.repeats)["ours"]))
            name = f"{preset}, {augment}"
            figures += [rate(f"{name}, DataLoader", batch, theirs), rate(f"{name}, ours", batch, ours)]
            figures.append(ratio(f"{name}, as fast as the DataLoader", theirs, ours))
    return figures


def scene_set(preset: str, augment: str) -> SceneSet:
    """Training scenes of a preset, from digits that need no download."""
    import mnist_seq

    return mnist_seq.scenes(preset, f"data/augment={augment}", "data.digits=uci")


def renderer(preset: str, augment: str, config: BenchConfig) -> Callable[[], Scenes]:
    """Renders the next batch of a preset, each time it is called, on the device."""
    drawn, batches = scene_set(preset, augment), count()
    return partial(_next, drawn, batches, config)


def _next(drawn: SceneSet, batches: count[int], config: BenchConfig) -> Scenes:
    first = next(batches) * config.batch_size
    return drawn.render(torch.arange(first, first + config.batch_size), device=config.device)
