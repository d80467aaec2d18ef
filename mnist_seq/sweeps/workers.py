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

from mnist_seq.config.validation import check

if TYPE_CHECKING:
    from mnist_seq.config import DevicesLauncherConfig

PRELOAD_MODULES = ["hydra.main", "torchvision", "mnist_seq.reporting.plots"]
PRELOAD_MODULES += [f"mnist_seq.training.{name}" for name in ("modules", "trainer", "judge")]
"""What every job of ours imports; none of it touches a device."""
OUTPUT_FILE = "output.txt"
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
    target: Callable[..., Any]
    """Can be pickled, with its arguments."""
    args: tuple[Any, ...] = ()


class RunningJob(NamedTuple):
    """A process that is."""

    job: Job
    slot: Slot
    process: BaseProcess
    start_time: float
    """By time.monotonic."""


class ProgressListener(Protocol):
    """Who wants to know how it goes."""

    def on_poll(self, running: Sequence[RunningJob], waiting: int) -> None:
        """Now and then."""

    def on_job_end(self, running: RunningJob) -> None:
        """A job's process has ended, well or not."""


def allocate_slots(config: DevicesLauncherConfig) -> list[Slot]:
    """The slots that a config asks for on this machine."""
    devices = [] if config.n_jobs else _visible_gpus()
    if devices:
        check(
            len(devices) >= config.gpus_per_job,
            f"hydra.launcher.gpus_per_job={config.gpus_per_job} needs as many GPUs: there are {len(devices)}",
        )
        together = [
            ",".join(devices[at : at + config.gpus_per_job]) for at in range(0, len(devices), config.gpus_per_job)
        ]
        return gpu_slots(together[: len(devices) // config.gpus_per_job], config.jobs_per_gpu, config.threads)
    return cpu_slots(config.n_jobs, config.threads)


def available_cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_slots(devices: Sequence[str], jobs_per_gpu: int = 1, threads: int | None = None) -> list[Slot]:
    """So many slots on each device, one device after the other; cores are shared evenly unless `threads` says more.

    Args:
        devices: as CUDA_VISIBLE_DEVICES names them, several joined by commas where they work together.
    """
    many = len(devices) * jobs_per_gpu
    return [
        Slot(threads or max(1, available_cores() // many), device) for _ in range(jobs_per_gpu) for device in devices
    ]


def cpu_slots(num_slots: int | None = None, threads: int | None = None) -> list[Slot]:
    """So many slots on the CPU, one for each core unless told; cores are shared evenly unless `threads` says more."""
    num_slots = num_slots or max(1, available_cores() // (threads or 1))
    return [Slot(threads or max(1, available_cores() // num_slots))] * num_slots


def run_jobs(jobs: Sequence[Job], slots: Sequence[Slot], listener: ProgressListener) -> None:
    """Each job in a process of its own, as many at a time as there are slots, in order.

    Where this ends before they do, by a signal or an error, it stops them and waits for them: training saves itself.
    """
    waiting, free = list(reversed(jobs)), list(reversed(slots))
    running: list[RunningJob] = []
    try:
        while waiting or running:
            while waiting and free:
                job, slot = waiting.pop(), free.pop()
                running.append(RunningJob(job, slot, start_job(job, slot), time.monotonic()))
            listener.on_poll(running, len(waiting))
            wait([each.process.sentinel for each in running], timeout=0.5)
            for each in [each for each in running if not each.process.is_alive()]:
                each.process.join()
                running.remove(each)
                free.append(each.slot)
                listener.on_job_end(each)
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.join()


def start_job(job: Job, slot: Slot) -> BaseProcess:
    """Begin a job's process. What it says goes to a file in its directory; it ends when this process does."""
    job.directory.mkdir(parents=True, exist_ok=True)
    arguments = (slot, job.directory / OUTPUT_FILE, job.target, job.args)
    process: BaseProcess = _mp_context(slot).Process(target=_worker_main, args=arguments)
    process.start()
    return process


def _mp_context(slot: Slot) -> Any:
    """How a slot's process comes to be: from one that has imported what is heavy, or, on a device, from nothing."""
    if sys.platform != "linux" or slot.device is not None:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD_MODULES)
    return context


def _worker_main(slot: Slot, output: Path, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ.update(slot.environment)
    if "torch" in sys.modules:  # it has read its environment already
        sys.modules["torch"].set_num_threads(slot.threads)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    threading.Thread(target=_terminate_with_parent, daemon=True).start()
    target(*args)


def _terminate_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _visible_gpus() -> list[str]:
    """GPUs, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    many = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:many] if visible else [str(it) for it in range(many)]
