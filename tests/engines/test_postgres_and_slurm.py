"""Searches on PostgreSQL and sweeps on Slurm."""

from __future__ import annotations

import os
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import start
from tests.sweeps.test_launcher import table, weights
from tests.sweeps.test_search import check_search_survives_killed_workers

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(not (find_spec("psycopg") and find_spec("submitit")), reason="make test-engines installs them"),
]
SWEEP = ("mnist_seq.train", "-m", *TINY, "trainer.max_steps=600", "trainer.val_check_interval=200", "trainer.threads=1")
SWEEP += ("seed=0,1",)
ON_SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=30", "hydra.launcher.cpus_per_task=1")


def test_no_trial_is_lost_on_postgresql(tmp_path: Path, postgres: str) -> None:
    check_search_survives_killed_workers(tmp_path, postgres)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the same sweep, run without Slurm."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    started = start(folder, *SWEEP, "hydra.sweep.dir=sweep")
    out, err = started.communicate(timeout=300)
    assert started.returncode == 0, out + err
    return folder / "sweep"


@pytest.mark.parametrize(
    "interruption", [("scontrol", "requeue"), ("scancel", "--signal=USR2")], ids=["requeued", "preempted"]
)
def test_a_job_that_slurm_interrupts_is_resumed_and_equals_an_uninterrupted_one(
    tmp_path: Path, uninterrupted: Path, slurm: dict[str, str], interruption: tuple[str, ...]
) -> None:
    """By requeueing, and by the signal that announces preemption and time limits."""
    started = start(tmp_path, *SWEEP, "hydra.sweep.dir=sweep", *ON_SLURM, **slurm)
    sweep = tmp_path / "sweep"
    while started.poll() is None and not list(sweep.glob("*seed-0*/metrics.csv")):
        time.sleep(0.05)
    assert started.poll() is None, "".join(started.communicate())
    listed = subprocess.run(
        ["squeue", "--noheader", "--format=%i"], env=os.environ | slurm, capture_output=True, text=True, check=True
    )
    (job,) = [it for it in listed.stdout.split() if it.endswith("_0")]
    subprocess.run([*interruption, job], env=os.environ | slurm, check=True)
    start_now = ["scontrol", "update", f"JobId={job}", "StartTime=now"]  # a requeued job would wait for two minutes
    while started.poll() is None:
        pending = ["squeue", "--noheader", "--states=PENDING", "--format=%r", f"--jobs={job}"]
        reason = subprocess.run(pending, env=os.environ | slurm, capture_output=True, text=True)
        if "BeginTime" in reason.stdout:
            subprocess.run(start_now, env=os.environ | slurm, capture_output=True)
        time.sleep(1)
    out, err = started.communicate(timeout=10)
    assert started.returncode == 0, out + err
    run = Run(next(sweep.glob("*seed-0*")))
    assert run.log.read_text().count("Restored all states from the checkpoint") == 1, (
        "it saved a checkpoint and was resumed"
    )
    assert table(sweep) == table(uninterrupted)
    assert weights(sweep) == weights(uninterrupted)
