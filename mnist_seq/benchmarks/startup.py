"""Suite startup: wall-clock time of whole processes, and the peak memory of a training run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from mnist_seq.benchmarks.timer import Measurement, summarize, time_interleaved
from mnist_seq.training import hardware

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

_TRAIN = ("-m", "mnist_seq.train")
_EXIT_AFTER_FIRST_STEP = "+callbacks.exit._target_=mnist_seq.benchmarks.startup.ExitAfterFirstStep"
COMPARED = ("train, through its first step", "import lightning")
"""The first process contains the second."""
COMMANDS = {
    "bare python": ("-c", ""),
    "import mnist_seq": ("-c", "import mnist_seq"),
    "train --help": (*_TRAIN, "--help"),
    "train --cfg job": (*_TRAIN, "--cfg", "job"),
    COMPARED[0]: (*_TRAIN, _EXIT_AFTER_FIRST_STEP),
    COMPARED[1]: ("-c", "import lightning"),
}
"""Name -> arguments of the Python interpreter."""
_PEAK_MEMORY_SCRIPT = """import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
SHORT_RUN = ("trainer.max_steps=60", "trainer.val_check_interval=30")
"""Overrides of the run whose memory is measured."""


class ExitAfterFirstStep(Callback):
    """Lightning callback: exit the process silently after the first training step."""

    def on_train_batch_end(self, *_: Any) -> None:
        os._exit(0)


def startup(config: BenchConfig) -> list[Measurement]:
    """Whole processes, interleaved, and the peak memory of a run with its validations and plots."""
    overrides = (f"trainer={hardware.DEVICE_PRESETS[config.device]}", "data.digits=uci")
    commands = {name: (*args, *overrides) if _TRAIN[1] in args else args for name, args in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as folder:
        workloads = {name: partial(_run_python, args, folder) for name, args in commands.items()}
        seconds = time_interleaved(workloads, min(config.repeats, 5), warmup=1)
        peak_memory = _peak_memory((*_TRAIN, *overrides, *SHORT_RUN), folder)
    extra_seconds = [one - other for one, other in zip(*(seconds[name] for name in COMPARED), strict=True)]
    measurements = [summarize(name, "s", rounds) for name, rounds in seconds.items()]
    measurements.append(summarize(f"{COMPARED[0]}, minus {COMPARED[1]}", "s", extra_seconds))
    return [*measurements, summarize("peak memory of a run", "MiB", [peak_memory])]


def _run_python(args: tuple[str, ...], folder: str) -> str:
    """Run a Python process to its end in a folder; return its stdout."""
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def _peak_memory(args: tuple[str, ...], folder: str) -> float:
    """Peak resident memory of a Python process, MiB.

    A small process starts it: after fork, the memory of the parent would count.
    """
    bytes_per_unit = 1 if sys.platform == "darwin" else 1 << 10
    return int(_run_python(("-c", _PEAK_MEMORY_SCRIPT, *args), folder)) * bytes_per_unit / (1 << 20)
