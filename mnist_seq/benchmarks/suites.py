"""The table of benchmark suites."""

from __future__ import annotations

from collections.abc import Callable

from mnist_seq.benchmarks import (
    contention,
    inference,
    page,
    rendering,
    serving,
    startup,
    step_profile,
    step_scaling,
    training,
)
from mnist_seq.benchmarks.timer import Measurement
from mnist_seq.config import BenchConfig

Suite = Callable[[BenchConfig], list[Measurement]]
"""Measures on this machine, interleaving what it compares; its docstring is the title of its table."""

SUITES: dict[str, Suite] = {
    "rendering": rendering.render_throughput,
    "dataloader": rendering.dataloader_throughput,
    "train_step": training.train_step,
    "step_profile": step_profile.step_profile,
    "train_loop": training.train_loop,
    "inference": inference.inference,
    "step_scaling": step_scaling.step_scaling,
    "startup": startup.startup,
    "serving": serving.serving,
    "contention": contention.contention,
    "page": page.page,
}
