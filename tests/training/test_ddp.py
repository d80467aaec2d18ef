"""A run of two processes equals a run of one: Lightning's DDP over gloo."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import start
from tests.e2e.forked_command import run

pytestmark = pytest.mark.slow
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.matmul_precision=highest")
STEPS = ("trainer.max_steps=30", "trainer.val_check_interval=10", "trainer.log_every_n_steps=2")
TRAINED = (*(it for it in TINY if not it.startswith("trainer")), "data=scatter", "data.val_scenes=1100")
"""Sequences of several lengths, and validation that does not divide: one rank has two batches, the other one."""


def finish(started: object) -> tuple[str, str]:
    out, err = started.communicate(timeout=200)  # type: ignore[attr-defined]
    assert started.returncode == 0, out + err  # type: ignore[attr-defined]
    return out, err


def test_two_processes_train_the_same_weights_as_one(tmp_path: Path) -> None:
    whole = (*TRAINED, "trainer=cpu", "trainer.precision=32-true", "trainer.matmul_precision=highest", *STEPS)
    run(tmp_path, "mnist_seq.train", *whole, "data.batch_size=32", "hydra.run.dir=one")
    halves = (*TRAINED, *DDP, *STEPS, "data.batch_size=16", "hydra.run.dir=two")
    out, _ = finish(start(tmp_path, "mnist_seq.train", *halves))
    assert out.count("on scatter") == 1, "only rank 0 prints"
    one, two = (Run(tmp_path / name) for name in ("one", "two"))
    expected, found = load_file(one.weights), load_file(two.weights)
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        known = slice(16 if name.endswith("kv_proj.bias") else 0, None)  # a softmax is blind to the bias of its keys
        torch.testing.assert_close(found[name][known], weight[known], atol=2e-5, rtol=1e-3, msg=name)
    assert two.metrics["scenes"] == one.metrics["scenes"] == 30 * 32
    assert two.metrics["val"]["loss"] == pytest.approx(one.metrics["val"]["loss"], rel=1e-4)
    for column in ("val/loss", "train/loss"):
        mine, other = (_column(each, column) for each in (one, two))
        assert other == pytest.approx(mine, rel=1e-3)
        assert len(mine) >= 3


def test_more_processes_than_val_batches_validate_every_scene_once(tmp_path: Path) -> None:
    few = (*(it for it in TRAINED if "val_scenes" not in it), "data.val_scenes=101", "report=false")
    overrides = (*few, "trainer=cpu", "trainer.devices=2", "trainer.max_steps=4")
    finish(start(tmp_path, "mnist_seq.train", *overrides, "trainer.val_check_interval=2", "hydra.run.dir=two"))
    two = Run(tmp_path / "two")
    assert two.metrics["val"]["scenes"] == 101
    assert len(_column(two, "val/loss")) == 2
    assert _column(two, "val/exact_match")[-1] == two.metrics["val"]["exact_match"]


def _column(of: Run, name: str) -> list[float]:
    return [row[name] for row in of.logged_metrics if name in row]


def test_processes_of_one_run_stop_together_and_resume(tmp_path: Path) -> None:
    longer = (
        *TRAINED,
        *DDP,
        "data.batch_size=16",
        "model.dropout=0.1",
        "trainer.max_steps=400",
        "trainer.val_check_interval=200",
        "hydra.run.dir=two",
    )
    started = start(tmp_path, "mnist_seq.train", *longer)
    while started.poll() is None and not (tmp_path / "two" / "metrics.csv").exists():
        time.sleep(0.02)
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=200)
    assert started.returncode == 143, err
    assert "Traceback" not in err
    checkpoint = torch.load(Run(tmp_path / "two").last_checkpoint, weights_only=False)
    assert 0 < checkpoint["global_step"] < 400
    first, second = (states["torch"] for states in checkpoint["callbacks"]["ResumableCheckpoint"]["random"])
    assert not torch.equal(first, second), "each process goes on with its own dropout"
    finish(start(tmp_path, "mnist_seq.train", "resume=two"))
    assert Run(tmp_path / "two").metrics["steps"] == 400


def test_sweep_of_multi_process_runs_needs_a_process_per_job(tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *TRAINED, *DDP, "trainer.max_steps=4", "seed=3", "hydra.sweep.dir=sweep")
    _, err = run(tmp_path, *sweep, code=1)
    assert "add hydra/launcher=devices" in err
    run(tmp_path, *sweep, "hydra/launcher=devices", "hydra.launcher.n_jobs=1")
    (metrics,) = [json.loads(path.read_text()) for path in tmp_path.glob("sweep/*/metrics.json")]
    assert metrics["seed"] == 3
    assert metrics["scenes"] == 2 * 4 * 32, "both processes trained on their share"
