"""Suite contention: training alongside a busy process, by number of threads and by how long idle threads spin."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnist_seq.benchmarks import training
from mnist_seq.benchmarks.timer import Measurement, ratio, summarize
from mnist_seq.cpu_cores import available_cores
from mnist_seq.run_dir import Run

if TYPE_CHECKING:
    from mnist_seq.config import BenchConfig

LOG_EVERY_N_STEPS = 20
"""Steps between two logged throughputs of a run."""
_BUSY_LOOP = "while True: pass"


class _Setting(NamedTuple):
    """How the threads of a run are set."""

    threads: int | None
    """None leaves the choice to the run."""
    spin_count: int | None
    """GOMP_SPINCOUNT: turns that a thread waits for the others before it sleeps; None is OpenMP's default."""


def contention(config: BenchConfig) -> list[Measurement]:
    """Training runs on grids, alone and beside a process that keeps one core busy; at most five rounds, 3 min each."""
    cores = available_cores()
    settings = {
        "default": _Setting(None, None),
        f"{cores} threads": _Setting(cores, None),
        f"{cores} threads, spin count 10,000": _Setting(cores, 10_000),
        f"{cores} threads, spin count 1,000": _Setting(cores, 1_000),
        f"{cores} threads, spin count 0": _Setting(cores, 0),
        f"{max(1, cores - 1)} thread(s)": _Setting(max(1, cores - 1), None),
    }
    rates: dict[tuple[str, bool], list[float]] = {}
    for _ in range(min(config.repeats, 5)):
        for has_neighbour in (False, True):
            for name, setting in settings.items():
                with _busy_process() if has_neighbour else nullcontext():
                    rates.setdefault((name, has_neighbour), []).append(_throughput(setting, config))
    measurements = []
    for has_neighbour, label in ((False, "alone"), (True, "alongside a busy process")):
        for name in settings:
            measurements.append(summarize(f"{label}, {name}", "scenes/s", rates[name, has_neighbour]))
    beside, alone = rates["default", True], rates[f"{cores} threads", False]
    return [*measurements, ratio("default alongside a busy process, share of all threads alone", beside, alone, "%")]


def _throughput(setting: _Setting, config: BenchConfig) -> float:
    """Median throughput of a run, scenes/s."""
    env = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    if setting.spin_count is not None:
        env["GOMP_SPINCOUNT"] = str(setting.spin_count)
    overrides = [*training.grid_overrides(config, "cpu", LOG_EVERY_N_STEPS), "report=false"]
    if setting.threads is not None:
        overrides.append(f"trainer.threads={setting.threads}")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mnist_seq.train", *overrides, f"hydra.run.dir={folder}/run"]
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
        return training.median_throughput(Run(Path(folder) / "run"))


@contextmanager
def _busy_process() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", _BUSY_LOOP])
    try:
        yield
    finally:
        process.kill()
        process.wait()
