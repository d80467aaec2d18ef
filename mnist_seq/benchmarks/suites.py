"""What is timed: each suite measures on this machine, side by side in one process, and names what it measured."""

from __future__ import annotations

from collections.abc import Callable

from mnist_seq.benchmarks import rendering, serving, startup, step_scaling, training
from mnist_seq.benchmarks.timer import Measurement
from mnist_seq.config import BenchConfig

Suite = Callable[[BenchConfig], list[Measurement]]

SUITES: dict[str, Suite] = {
    "rendering": rendering.render_throughput,
    "dataloader": rendering.dataloader_throughput,
    "train_step": training.train_step,
    "train_loop": training.train_loop,
    "inference": training.inference,
    "step_scaling": step_scaling.step_scaling,
    "startup": startup.startup,
    "serving": serving.serving,
}
