"""Processes side by side, each in a slot of this machine: a device, or a share of the CPU's cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mnist_seq.config.law import require

if TYPE_CHECKING:
    from mnist_seq.config import DevicesConfig

HEAVY = ["hydra.main", "torchvision", "mnist_seq.figures.plots"]
HEAVY += [f"mnist_seq.learn.{name}" for name in ("modules", "trainer", "judge")]
"""What every job of ours imports; none of it touches a device."""
OUTPUT = "output.txt"
"""In a job's directory: what it said."""


class Slot(NamedTuple):
    """Where one process runs at a time."""

    threads: int
    """Of the CPU."""
    device: str | None = None
    """For CUDA_VISIBLE_DEVICES; None leaves that as it is."""

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return threads if self.device is None else f"GPU {self.device}"

    @property
    def environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(self.threads)} | (
            {} if self.device is None else {"CUDA_VISIBLE_DEVICES": self.device}
        )


class Job(NamedTuple):
    """A process to be."""

    name: str
    directory: Path
    work: Callable[..., Any]
    """Can be pickled, with its arguments."""
    arguments: tuple[Any, ...] = ()


class Running(NamedTuple):
    """A process that is."""

    job: Job
    slot: Slot
    process: BaseProcess
    since: float
    """By time.monotonic."""


class Report(Protocol):
    """Who wants to know how it goes."""

    def look(self, running: Sequence[Running], waiting: int) -> None:
        """Now and then."""

    def ended(self, running: Running) -> None:
        """A job's process has ended, well or not."""


def of(config: DevicesConfig) -> list[Slot]:
    """The slots that a config asks for on this machine."""
    devices = [] if config.slots else _devices()
    if devices:
        require(
            len(devices) >= config.per_job,
            f"hydra.launcher.per_job={config.per_job} needs as many GPUs: there are {len(devices)}",
        )
        together = [",".join(devices[at : at + config.per_job]) for at in range(0, len(devices), config.per_job)]
        return of_devices(together[: len(devices) // config.per_job], config.per_device, config.threads)
    return of_cores(config.slots, config.threads)


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def of_devices(devices: Sequence[str], per_device: int = 1, threads: int | None = None) -> list[Slot]:
    """So many slots on each device, one device after the other; cores are shared evenly unless `threads` says more.

    Args:
        devices: as CUDA_VISIBLE_DEVICES names them, several joined by commas where they work together.
    """
    many = len(devices) * per_device
    return [Slot(threads or max(1, cores() // many), device) for _ in range(per_device) for device in devices]


def of_cores(many: int | None = None, threads: int | None = None) -> list[Slot]:
    """So many slots on the CPU, one for each core unless told; cores are shared evenly unless `threads` says more."""
    many = many or max(1, cores() // (threads or 1))
    return [Slot(threads or max(1, cores() // many))] * many


def run_all(jobs: Sequence[Job], slots: Sequence[Slot], report: Report) -> None:
    """Each job in a process of its own, as many at a time as there are slots, in order.

    Where this ends before they do, by a signal or an error, it stops them and waits for them: training saves itself.
    """
    waiting, free = list(reversed(jobs)), list(reversed(slots))
    running: list[Running] = []
    try:
        while waiting or running:
            while waiting and free:
                job, slot = waiting.pop(), free.pop()
                running.append(Running(job, slot, start(job, slot), time.monotonic()))
            report.look(running, len(waiting))
            wait([each.process.sentinel for each in running], timeout=0.5)
            for each in [each for each in running if not each.process.is_alive()]:
                each.process.join()
                running.remove(each)
                free.append(each.slot)
                report.ended(each)
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.join()


def start(job: Job, slot: Slot) -> BaseProcess:
    """Begin a job's process. What it says goes to a file in its directory; it ends when this process does."""
    job.directory.mkdir(parents=True, exist_ok=True)
    arguments = (slot, job.directory / OUTPUT, job.work, job.arguments)
    process: BaseProcess = _context(slot).Process(target=_become, args=arguments)
    process.start()
    return process


def _context(slot: Slot) -> Any:
    """How a slot's process comes to be: from one that has imported what is heavy, or, on a device, from nothing."""
    if sys.platform != "linux" or slot.device is not None:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    return context


def _become(slot: Slot, output: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(slot.environment)
    if "torch" in sys.modules:  # it has read its environment already
        sys.modules["torch"].set_num_threads(slot.threads)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _devices() -> list[str]:
    """GPUs, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    many = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:many] if visible else [str(it) for it in range(many)]
