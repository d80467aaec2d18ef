"""Whole processes: what a user waits for before anything happens, and the memory that a run takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from typing import TYPE_CHECKING

from mnist_seq.benchmarks.timer import Measurement, summarize, time_interleaved
from mnist_seq.training import hardware

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

_TRAIN = ("-m", "mnist_seq.train")
_EXIT_AFTER_FIRST_STEP = "+callbacks.leave._target_=mnist_seq.benchmarks.exit_after_first_step.ExitAfterFirstStep"
COMPARED = ("train, until after its first step", "import lightning")
"""What is compared: the one contains the other."""
COMMANDS = {
    "python alone": ("-c", ""),
    "import mnist_seq": ("-c", "import mnist_seq"),
    "train --help": (*_TRAIN, "--help"),
    "train --cfg job": (*_TRAIN, "--cfg", "job"),
    COMPARED[0]: (*_TRAIN, _EXIT_AFTER_FIRST_STEP),
    COMPARED[1]: ("-c", "import lightning"),
}
_PEAK_MEMORY_SCRIPT = """import resource, subprocess, sys
subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
SHORT_RUN = ("trainer.max_steps=60", "trainer.val_check_interval=30")
"""A run for its memory."""


def startup(config: BenchConfig) -> list[Measurement]:
    """Whole processes, in turn, and the most memory that a run with its validations and plots takes."""
    here = (f"trainer={hardware.DEVICE_PRESETS[config.device]}", "data.digits=uci")
    commands = {name: (*given, *here) if _TRAIN[1] in given else given for name, given in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as folder:
        works = {name: partial(_run_python, arguments, folder) for name, arguments in commands.items()}
        taken = time_interleaved(works, min(config.repeats, 5), warmup=1)
        peak = _peak_memory((*_TRAIN, *here, *SHORT_RUN), folder)
    beyond = [one - other for one, other in zip(*(taken[name] for name in COMPARED), strict=True)]
    figures = [summarize(name, "s", seconds) for name, seconds in taken.items()]
    figures.append(summarize(f"{COMPARED[0]}, less {COMPARED[1]}", "s", beyond))
    return [*figures, summarize("peak memory of a run", "MiB", [peak])]


def _run_python(arguments: tuple[str, ...], folder: str) -> str:
    """A Python process from begin to end; what it said."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def _peak_memory(arguments: tuple[str, ...], folder: str) -> float:
    """The most that a Python process held, MiB. A small one starts it: the system counts a parent's memory, too."""
    return int(_run_python(("-c", _PEAK_MEMORY_SCRIPT, *arguments), folder)) / (
        1 << 20 if sys.platform == "darwin" else 1 << 10
    )
