"""Scenes rendered a second: ours, a per-sample DataLoader's, and what memory allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from mnist_seq.benchmarks.timer import Measurement, ratio, throughput, time_interleaved
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import TrainConfig
from mnist_seq.data import datasets

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig
    from mnist_seq.data.datasets import SceneDataset
    from mnist_seq.data.render import SceneBatch

PRESETS = (
    *("single", "grid", "grid_3x3", "scatter", "scatter_96", "scatter_96_clear", "scatter_8", "line", "overlap"),
    *("multimnist_s4", "cluttered"),
)
_NUM_WORKERS = 2


def render_throughput(config: BenchConfig) -> list[Measurement]:
    """Scenes rendered a second, by preset and distortion, and how fast memory copies their images."""
    figures = []
    for preset in PRESETS:
        works = {f"{preset}, {augment}": renderer(preset, augment, config) for augment in ("none", "light", "strong")}
        images = works[f"{preset}, none"]().images
        taken = time_interleaved({**works, f"{preset}, images copied": images.clone}, config.repeats)
        figures += [throughput(name, config.batch_size, seconds) for name, seconds in taken.items()]
    return figures


def dataloader_throughput(config: BenchConfig) -> list[Measurement]:
    """The same scenes one by one from a DataLoader with two workers, and ours beside, in turn."""
    from mnist_seq.benchmarks.baseline_loader import build_loader

    figures = []
    batch = config.batch_size
    for preset in PRESETS:
        for augment in ("none", "light"):
            drawn: Any = train_scenes(preset, augment)
            render = renderer(preset, augment, config)
            theirs, ours = [], []
            for _ in range(max(3, config.repeats // 10)):
                ready = iter(build_loader(drawn.config, drawn.pool, 60 * batch, batch, _NUM_WORKERS, augment != "none"))
                for _ in range(8):  # what the workers made while they started
                    next(ready)
                began = time.perf_counter()
                batches = sum(1 for _ in ready)
                theirs.append((time.perf_counter() - began) / batches)
                del ready
                ours.append(median(time_interleaved({"ours": render}, config.repeats)["ours"]))
            name = f"{preset}, {augment}"
            figures += [throughput(f"{name}, DataLoader", batch, theirs), throughput(f"{name}, ours", batch, ours)]
            figures.append(ratio(f"{name}, as fast as the DataLoader", theirs, ours))
    return figures


def train_scenes(preset: str, augment: str) -> SceneDataset:
    """Training scenes of a preset, from digits that need no download."""
    composed = compose("train", [f"data={preset}", f"data/augment={augment}", "data.digits=uci"])
    return datasets.load(to_dataclass(composed.config, TrainConfig).data).splits["train"]


def renderer(preset: str, augment: str, config: BenchConfig) -> Callable[[], SceneBatch]:
    """Renders the next batch of a preset, each time it is called, on the device."""
    drawn, batches = train_scenes(preset, augment), count()
    return partial(_render_next_batch, drawn, batches, config)


def _render_next_batch(drawn: SceneDataset, batches: count[int], config: BenchConfig) -> SceneBatch:
    first = next(batches) * config.batch_size
    return drawn.render(torch.arange(first, first + config.batch_size), device=config.device)
