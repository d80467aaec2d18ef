"""Parallel jobs: each in a process of its own, on a slot of this machine (a GPU, or a share of the CPU cores)."""

from __future__ import annotations

import gc
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
from mnist_seq.cpu_cores import QUOTA_VARIABLE, available_cores

if TYPE_CHECKING:
    from mnist_seq.config import DevicesLauncherConfig

PRELOAD_MODULES = ["hydra.main", "torchvision", "mnist_seq.reporting.plots", "mnist_seq.evaluation.evaluate_model"]
PRELOAD_MODULES += ["mnist_seq.training.module", "mnist_seq.training.trainer"]
"""Modules that every job imports, loaded once by the fork server; none of them initializes a device."""
OUTPUT_FILE = "output.txt"
"""In a job's directory: its stdout and stderr."""


class Slot(NamedTuple):
    """A place for one process at a time."""

    threads: int
    """CPU threads of the process."""
    device: str = ""
    """Value of CUDA_VISIBLE_DEVICES; empty on the CPU."""

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"GPU {self.device}" if self.device else threads


class Job(NamedTuple):
    """A function to be called in a process of its own."""

    name: str
    directory: Path
    target: Callable[..., Any]
    """The function; it and its arguments must be picklable."""
    args: tuple[Any, ...] = ()


class RunningJob(NamedTuple):
    """A job whose process has been started."""

    job: Job
    slot: Slot
    process: BaseProcess
    start_time: float
    """By time.monotonic, seconds."""


class ProgressListener(Protocol):
    """Callbacks of run_jobs."""

    def on_poll(self, running: Sequence[RunningJob], num_waiting: int) -> None:
        """Called about twice a second."""

    def on_job_end(self, running: RunningJob) -> None:
        """Called when a job's process has ended, whether or not it succeeded."""


def allocate_slots(config: DevicesLauncherConfig) -> list[Slot]:
    """Allocate the slots that a launcher config asks for: on the GPUs if there are any, else on the CPU.

    Raises:
        UserError: there are fewer GPUs than one job needs.
    """
    devices = [] if config.n_jobs else _visible_gpus()
    if not devices:
        return cpu_slots(config.n_jobs, config.threads)
    check(
        len(devices) >= config.gpus_per_job,
        f"hydra.launcher.gpus_per_job={config.gpus_per_job} exceeds the {len(devices)} visible GPUs: choose fewer",
    )
    num_groups = len(devices) // config.gpus_per_job
    groups = [",".join(devices[i * config.gpus_per_job : (i + 1) * config.gpus_per_job]) for i in range(num_groups)]
    return gpu_slots(groups, config.jobs_per_gpu, config.threads)


def gpu_slots(devices: Sequence[str], jobs_per_gpu: int = 1, threads: int | None = None) -> list[Slot]:
    """Slots on GPUs, ordered so that every GPU gets a job before any gets a second one.

    Args:
        devices: values of CUDA_VISIBLE_DEVICES; several GPUs of one job are joined by commas.
        jobs_per_gpu: slots on each device.
        threads: CPU threads of each slot; None shares the cores evenly.
    """
    threads = threads or max(1, available_cores() // (len(devices) * jobs_per_gpu))
    return [Slot(threads, device) for device in devices] * jobs_per_gpu


def cpu_slots(num_slots: int | None = None, threads: int | None = None) -> list[Slot]:
    """Slots on the CPU.

    Args:
        num_slots: None takes as many as the cores allow with `threads` each, or one per core.
        threads: CPU threads of each slot; None shares the cores evenly.
    """
    num_slots = num_slots or max(1, available_cores() // (threads or 1))
    return [Slot(threads or max(1, available_cores() // num_slots))] * num_slots


def run_jobs(jobs: Sequence[Job], slots: Sequence[Slot], listener: ProgressListener) -> None:
    """Run jobs in order, as many at a time as there are slots, and wait for all of them.

    If this is interrupted by a signal or an error, the running jobs get SIGTERM and are waited for, so that training
    can save a checkpoint.
    """
    waiting, free = list(reversed(jobs)), list(reversed(slots))
    running: list[RunningJob] = []
    try:
        while waiting or running:
            while waiting and free:
                job, slot = waiting.pop(), free.pop()
                running.append(RunningJob(job, slot, start_job(job, slot), time.monotonic()))
            listener.on_poll(running, len(waiting))
            wait([it.process.sentinel for it in running], timeout=0.5)
            for ended in [it for it in running if not it.process.is_alive()]:
                ended.process.join()
                running.remove(ended)
                free.append(ended.slot)
                listener.on_job_end(ended)
    finally:
        for it in running:
            it.process.terminate()
        for it in running:
            it.process.join()


def start_job(job: Job, slot: Slot) -> BaseProcess:
    """Start the process of a job.

    Its stdout and stderr are appended to OUTPUT_FILE in its directory, and it is terminated when this process ends.
    """
    job.directory.mkdir(parents=True, exist_ok=True)
    arguments = (slot, job.directory / OUTPUT_FILE, job.target, job.args)
    process: BaseProcess = _mp_context(slot).Process(target=_worker_main, args=arguments)
    process.start()
    return process


def start_fork_server(slots: Sequence[Slot]) -> None:
    """Start to load what jobs in these slots import, in the background, before the first job."""
    if all(_mp_context(slot).get_start_method() == "forkserver" for slot in slots):
        from multiprocessing import forkserver

        forkserver.ensure_running()


def _mp_context(slot: Slot) -> Any:
    """Fork from a server with the heavy imports where that is safe: on Linux, without a device; spawn elsewhere."""
    if sys.platform != "linux" or slot.device:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD_MODULES)
    return context


def _worker_main(slot: Slot, output_path: Path, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ["OMP_NUM_THREADS"] = str(slot.threads)
    os.environ.pop(QUOTA_VARIABLE, None)  # this number is the launcher's choice
    os.environ["CUDA_VISIBLE_DEVICES"] = slot.device
    if "torch" in sys.modules:  # the fork server imported it, and it has read OMP_NUM_THREADS already
        sys.modules["torch"].set_num_threads(slot.threads)
    descriptor = os.open(output_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    threading.Thread(target=_terminate_with_parent, daemon=True).start()
    gc.freeze()  # the garbage collector then skips what the fork server has imported
    target(*args)


def _terminate_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _visible_gpus() -> list[str]:
    """GPU identifiers as CUDA_VISIBLE_DEVICES lists them."""
    import torch

    num_gpus = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:num_gpus] if visible else [str(index) for index in range(num_gpus)]
