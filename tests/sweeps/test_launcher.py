"""The devices launcher: parallel sweeps give the results of sequential ones, also after failures and kills."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import pytest

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import start
from tests.e2e.forked_command import run

pytestmark = pytest.mark.slow
PARALLEL = ("hydra/launcher=devices", "hydra.launcher.n_jobs=2")


def table(sweep: Path) -> list[dict[str, str]]:
    """Rows of sweep.csv without timings and directories."""
    with (sweep / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: it for key, it in row.items() if key not in ("run", "seconds", "scenes_per_second")} for row in rows]


def weights(sweep: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sweep.glob("*/weights.safetensors")}


def test_parallel_sweep_equals_sequential_sweep_bitwise_and_continues_after_failures(tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *TINY, "trainer.threads=1", "model.num_heads=2,5", "seed=0,1")
    run(tmp_path, *sweep, "hydra.sweep.dir=sequential", code=1)
    out, _ = run(tmp_path, *sweep, "hydra.sweep.dir=parallel", *PARALLEL, code=1)
    assert table(tmp_path / "parallel") == table(tmp_path / "sequential")
    assert len(weights(tmp_path / "sequential")) == 2
    assert weights(tmp_path / "parallel") == weights(tmp_path / "sequential")
    assert "4/4" in out
    assert out.count("model.num_heads=5 does not divide") == 4, "when each job fails, and at the end"
    assert "seed 0" in next((tmp_path / "parallel").glob("*heads-2*seed-0*")).joinpath("output.txt").read_text()


@pytest.mark.parametrize(
    "launcher", [(), ("hydra/launcher=devices", "hydra.launcher.n_jobs=1")], ids=["basic", "devices"]
)
def test_on_failure_stop_ends_a_sweep_at_its_first_failed_job(launcher: tuple[str, ...], tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *TINY, "model.num_heads=2,5,4", "hydra.sweep.dir=sweep", *launcher)
    out, _ = run(tmp_path, *sweep, "hydra.callbacks.table.on_failure=stop", code=1)
    assert [path.parent.name.count("heads-2") for path in tmp_path.glob("sweep/*/weights.safetensors")] == [1]
    assert "stopped at the first failed job" in out
    assert "heads=5 does not divide" in out
    assert out.count("failed: ") == 1 + len(launcher) // 2, "when it fails (devices launcher), and at the end"
    assert not list(tmp_path.glob("sweep/*heads-4*"))
    run(tmp_path, *sweep, code=1)
    assert len(list(tmp_path.glob("sweep/*/weights.safetensors"))) == 2, "without on_failure=stop the other jobs run"


def test_killed_and_rerun_sweep_equals_uninterrupted_sweep(tmp_path: Path) -> None:
    longer = (*TINY, "trainer.max_steps=60", "trainer.val_check_interval=10")
    sweep = ("mnist_seq.train", "-m", *longer, "seed=0,1,2", *PARALLEL)
    run(tmp_path, *sweep, "hydra.sweep.dir=whole")
    killed, checkpoints = tmp_path / "killed", "*/checkpoints/last.ckpt"
    for num_saved in (1, 2):  # the second kill hits resumed jobs
        started = start(tmp_path, *sweep, "hydra.sweep.dir=killed", group=True)
        while started.poll() is None and len(list(killed.glob(checkpoints))) < num_saved:
            time.sleep(0.01)
        assert started.poll() is None, "the sweep ended before it could be killed"
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
    assert not any(Run(path.parent.parent).finished for path in killed.glob(checkpoints))
    run(tmp_path, *sweep, "hydra.sweep.dir=killed")
    assert table(killed) == table(tmp_path / "whole")
    assert weights(killed) == weights(tmp_path / "whole")
    times = {path: path.stat().st_mtime_ns for path in killed.glob("*/metrics.json")}
    assert len(times) == 3
    run(tmp_path, *sweep, "hydra.sweep.dir=killed")
    assert {path: path.stat().st_mtime_ns for path in times} == times, "finished runs are left unchanged"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_launcher_stops_its_jobs_and_each_saves_a_checkpoint(tmp_path: Path, signum: int) -> None:
    longer = (*TINY, "trainer.max_steps=100000", "trainer.val_check_interval=50000")
    started = start(tmp_path, "mnist_seq.train", "-m", *longer, "seed=0,1", "hydra.sweep.dir=sweep", *PARALLEL)
    while started.poll() is None and len(list(tmp_path.glob("sweep/*/metrics.csv"))) < 2:
        time.sleep(0.01)
    started.send_signal(signum)
    _, err = started.communicate(timeout=120)
    assert started.returncode == (143 if signum == signal.SIGTERM else -9)
    assert "Traceback" not in err
    deadline = time.monotonic() + 60
    outputs = [job / "output.txt" for job in tmp_path.glob("sweep/*seed*")]
    while not all("stopped by SIGTERM" in path.read_text() for path in outputs):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [Run(path.parent).last_checkpoint.exists() for path in outputs] == [True, True]
