"""Sweeps side by side come to what sweeps in a row come to, whatever happens to them."""

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
SIDE_BY_SIDE = ("hydra/launcher=devices", "hydra.launcher.n_jobs=2")


def table(sweep: Path) -> list[dict[str, str]]:
    """Its lines, timings and directories apart."""
    with (sweep / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    return [
        {key: it for key, it in line.items() if key not in ("run", "seconds", "scenes_per_second")} for line in lines
    ]


def weights(sweep: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sweep.glob("*/weights.safetensors")}


def test_side_by_side_is_one_after_the_other_to_the_bit_and_a_failure_stops_neither(tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *TINY, "trainer.threads=1", "model.num_heads=2,5", "seed=0,1")
    run(tmp_path, *sweep, "hydra.sweep.dir=row", code=1)
    out, _ = run(tmp_path, *sweep, "hydra.sweep.dir=side", *SIDE_BY_SIDE, code=1)
    assert table(tmp_path / "side") == table(tmp_path / "row")
    assert len(weights(tmp_path / "row")) == 2
    assert weights(tmp_path / "side") == weights(tmp_path / "row")
    assert "4/4" in out
    assert out.count("model.num_heads=5 does not divide") == 4, "as it happens, and at the end"
    assert "seed 0" in next((tmp_path / "side").glob("*heads-2*seed-0*")).joinpath("output.txt").read_text()


@pytest.mark.parametrize(
    "launcher", [(), ("hydra/launcher=devices", "hydra.launcher.n_jobs=1")], ids=["basic", "devices"]
)
def test_a_sweep_can_stop_at_its_first_failure(launcher: tuple[str, ...], tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *TINY, "model.num_heads=2,5,4", "hydra.sweep.dir=sweep", *launcher)
    out, _ = run(tmp_path, *sweep, "hydra.callbacks.table.on_failure=stop", code=1)
    assert [path.parent.name.count("heads-2") for path in tmp_path.glob("sweep/*/weights.safetensors")] == [1]
    assert "stopped at the first failure" in out
    assert "heads=5 does not divide" in out
    assert out.count("failed: ") == 1 + len(launcher) // 2, "as it happens in a line, and at the end"
    assert not list(tmp_path.glob("sweep/*heads-4*"))
    run(tmp_path, *sweep, code=1)
    assert len(list(tmp_path.glob("sweep/*/weights.safetensors"))) == 2, "the others go on by themselves"


def test_killed_with_all_its_jobs_a_sweep_goes_on_and_comes_to_the_same(tmp_path: Path) -> None:
    longer = (*TINY, "trainer.max_steps=60", "trainer.val_check_interval=10")
    sweep = ("mnist_seq.train", "-m", *longer, "seed=0,1,2", *SIDE_BY_SIDE)
    run(tmp_path, *sweep, "hydra.sweep.dir=whole")
    broken, saved = tmp_path / "broken", "*/checkpoints/last.ckpt"
    for already in (1, 2):  # the second time while others go on
        started = start(tmp_path, *sweep, "hydra.sweep.dir=broken", group=True)
        while started.poll() is None and len(list(broken.glob(saved))) < already:
            time.sleep(0.01)
        assert started.poll() is None, "it ended before it could be stopped"
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
    assert not any(Run(path.parent.parent).finished for path in broken.glob(saved))
    run(tmp_path, *sweep, "hydra.sweep.dir=broken")
    assert table(broken) == table(tmp_path / "whole")
    assert weights(broken) == weights(tmp_path / "whole")
    done = {path: path.stat().st_mtime_ns for path in broken.glob("*/metrics.json")}
    assert len(done) == 3
    run(tmp_path, *sweep, "hydra.sweep.dir=broken")
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what is finished is left as it is"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_that_is_stopped_leaves_no_job_behind_and_all_of_them_saved(tmp_path: Path, signum: int) -> None:
    longer = (*TINY, "trainer.max_steps=100000", "trainer.val_check_interval=50000")
    started = start(tmp_path, "mnist_seq.train", "-m", *longer, "seed=0,1", "hydra.sweep.dir=sweep", *SIDE_BY_SIDE)
    while started.poll() is None and len(list(tmp_path.glob("sweep/*/metrics.csv"))) < 2:
        time.sleep(0.01)
    started.send_signal(signum)
    _, err = started.communicate(timeout=120)
    assert started.returncode == (143 if signum == signal.SIGTERM else -9)
    assert "Traceback" not in err
    until = time.monotonic() + 60
    said = [job / "output.txt" for job in tmp_path.glob("sweep/*seed*")]
    while not all("stopped by SIGTERM" in path.read_text() for path in said):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [Run(path.parent).last_checkpoint.exists() for path in said] == [True, True]
