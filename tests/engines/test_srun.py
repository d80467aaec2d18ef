"""Runs as tasks of a real `srun`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import environment

pytestmark = pytest.mark.engines


def test_srun_tasks_with_different_seeds_train_one_run_each(tmp_path: Path, slurm: dict[str, str]) -> None:
    train = f"{sys.executable} -m mnist_seq.train {' '.join(TINY)} trainer.threads=1"
    task = f"{train} seed=$SLURM_PROCID hydra.run.dir=run$SLURM_PROCID"
    num_tasks = min(2, len(os.sched_getaffinity(0)))
    command = ["srun", f"--ntasks={num_tasks}", "bash", "-c", task]
    done = subprocess.run(command, cwd=tmp_path, env=environment(**slurm), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [Run(tmp_path / f"run{rank}").metrics["seed"] for rank in range(num_tasks)] == list(range(num_tasks))
    assert done.stdout.count("run directory:") == num_tasks
