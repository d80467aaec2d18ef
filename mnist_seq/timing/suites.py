"""What is timed: each suite measures on this machine, side by side in one process, and names what it measured."""

from __future__ import annotations

from collections.abc import Callable

from mnist_seq.config import BenchConfig
from mnist_seq.timing import growth, models, scenery, service, startup
from mnist_seq.timing.clock import Figure

Suite = Callable[[BenchConfig], list[Figure]]

SUITES: dict[str, Suite] = {
    "scenes": scenery.scenes,
    "loaders": scenery.loaders,
    "train": models.training,
    "loop": models.loop,
    "read": models.reading,
    "growth": growth.growth,
    "startup": startup.startup,
    "service": service.service,
}
