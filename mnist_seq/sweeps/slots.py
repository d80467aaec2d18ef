"""Processes side by side, each in a slot of this machine: a device, or a share of the CPU's cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

OUTPUT = "output.txt"
"""In a job's directory: what it said."""


class Slot(NamedTuple):
    """Where one process runs at a time."""

    threads: int
    """Of the CPU."""
    device: str | None = None
    """For CUDA_VISIBLE_DEVICES; None leaves that as it is."""

    def __str__(self) -> str:
        return f"{self.threads} threads" if self.device is None else f"GPU {self.device}"

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


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def of_devices(devices: Sequence[str], per_device: int = 1, threads: int | None = None) -> list[Slot]:
    """So many slots on each device, one device after the other; cores are shared evenly unless `threads` says more."""
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
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_become, args=(job.directory / OUTPUT, job.work, job.arguments))
    with _environment(slot.environment):  # libraries read it as they are loaded
        process.start()
    return process


def _become(output: Path, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
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


@contextmanager
def _environment(extra: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(extra)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
