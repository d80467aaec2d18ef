"""Suites rendering and dataloader: scenes rendered per second, beside a per-sample DataLoader and memcpy."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count, product
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from mnist_seq.benchmarks.timer import Measurement, Workload, ratio, throughput, time_interleaved
from mnist_seq.compose_config import compose_training
from mnist_seq.data import datasets

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig
    from mnist_seq.data.render import SceneBatch
    from mnist_seq.data.scene_dataset import SceneDataset

PRESETS = (
    *("single", "grid", "grid_3x3", "scatter", "scatter_96", "scatter_96_clear", "scatter_8", "string"),
    *("overlap", "multimnist_s4", "cluttered"),
)
"""Data presets that are timed."""
_NUM_WORKERS = 2
_LOADER_BATCHES = 60
"""Batches of one pass through the DataLoader."""
_LOADER_WARMUP = 8
"""Batches that do not count: workers prefetch them while they start."""


def render_throughput(config: BenchConfig) -> list[Measurement]:
    """Scenes rendered per second, by data preset and augmentation, and a memcpy of their images."""
    measurements = []
    for preset in PRESETS:
        workloads: dict[str, Workload] = {it: renderer(preset, it, config) for it in ("none", "light", "strong")}
        workloads["memcpy of the images"] = workloads["none"]().images.clone
        seconds = time_interleaved(workloads, config.repeats)
        measurements += [throughput(f"{preset}, {it}", config.batch_size, rounds) for it, rounds in seconds.items()]
    return measurements


def dataloader_throughput(config: BenchConfig) -> list[Measurement]:
    """The same scenes drawn one by one in a DataLoader with two workers; positions and labels are not timed there."""
    from mnist_seq.benchmarks.baseline_loader import build_loader

    measurements, batch_size, num_scenes = [], config.batch_size, _LOADER_BATCHES * config.batch_size
    for preset, augment in product(PRESETS, ("none", "light")):
        dataset: Any = train_scenes(preset, augment)
        render = renderer(preset, augment, config)
        loader = build_loader(dataset.config, dataset.pool, num_scenes, batch_size, _NUM_WORKERS, augment != "none")
        baseline_seconds, our_seconds = [], []
        for _ in range(max(3, config.repeats // 10)):
            batches = iter(loader)
            for _ in range(_LOADER_WARMUP):
                next(batches)
            start = time.perf_counter()
            num_batches = sum(1 for _ in batches)
            baseline_seconds.append((time.perf_counter() - start) / num_batches)
            del batches
            our_seconds.append(median(time_interleaved({"ours": render}, config.repeats)["ours"]))
        name = f"{preset}, {augment}"
        measurements += [
            throughput(f"{name}, DataLoader", batch_size, baseline_seconds),
            throughput(f"{name}, ours", batch_size, our_seconds),
            ratio(f"{name}, speedup over the DataLoader", baseline_seconds, our_seconds),
        ]
    return measurements


def train_scenes(preset: str, augment: str) -> SceneDataset:
    """Training scenes of a data preset, from digits that need no download."""
    config = compose_training([f"data={preset}", f"data/augment={augment}", "data.digits=uci"])
    return datasets.load(config.data).splits["train"]


def renderer(preset: str, augment: str, config: BenchConfig) -> Callable[[], SceneBatch]:
    """A workload that renders the next batch of a data preset, on the device, each time it is called."""
    return partial(_render_next_batch, train_scenes(preset, augment), count(), config)


def _render_next_batch(dataset: SceneDataset, batch_indices: count[int], config: BenchConfig) -> SceneBatch:
    first = next(batch_indices) * config.batch_size
    return dataset.render(torch.arange(first, first + config.batch_size), device=config.device)
