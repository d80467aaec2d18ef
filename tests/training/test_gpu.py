"""Training on a GPU obeys the laws of training on a CPU: `make test-gpu`. Without a GPU, it runs on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mnist_seq
from mnist_seq.errors import Interrupted
from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.forked_command import run
from tests.sweeps.test_launcher import table
from tests.training.test_fit import rows
from tests.training.test_resume import assert_same, stop  # noqa: F401

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

HAS_GPU = torch.cuda.is_available()
SMALL = (*(key for key in TINY if key != "trainer=cpu"), f"trainer={'gpu' if HAS_GPU else 'cpu'}")


def fit(path: Path, *overrides: str) -> Run:
    return mnist_seq.fit(*SMALL, *overrides, f"hydra.run.dir={path}")


def test_training_in_bfloat16_learns_and_keeps_float32_weights(tmp_path: Path) -> None:
    trained = fit(tmp_path, "trainer.precision=bf16-mixed", "trainer.max_steps=60", "trainer.val_check_interval=60")
    losses = [float(row["train/loss"]) for row in rows(trained) if row["train/loss"]]
    assert losses[-1] < 0.95 * losses[0]
    assert {weight.dtype for weight in load_file(trained.weights).values()} == {torch.float32}


def test_compiled_training_equals_eager_training(tmp_path: Path) -> None:
    """On a GPU the compiled steps are CUDA graphs."""
    compiled, eager = (
        load_file(fit(tmp_path / value, f"trainer.compile={value}", "trainer.precision=32-true").weights)
        for value in ("true", "false")
    )
    assert compiled.keys() == eager.keys()
    for name, weight in compiled.items():
        torch.testing.assert_close(weight, eager[name], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_resumed_run_equals_uninterrupted_run(
    tmp_path: Path,
    stop: list[int],  # noqa: F811
    precision: str,
) -> None:
    overrides = ("model.dropout=0.2", "optim=muon", "callbacks=ema", f"trainer.precision={precision}")
    whole = fit(tmp_path / "whole", *overrides)
    stop[:] = [7]
    with pytest.raises(Interrupted):
        fit(tmp_path / "parts", *overrides)
    assert_same(mnist_seq.fit(f"resume={tmp_path / 'parts'}"), whole)


def test_jobs_side_by_side_on_one_device_equal_jobs_one_after_another(tmp_path: Path) -> None:
    sweep = ("mnist_seq.train", "-m", *SMALL, "trainer.threads=1", "seed=0,1")
    slots = "hydra.launcher.jobs_per_gpu=2" if HAS_GPU else "hydra.launcher.n_jobs=2"
    run(tmp_path, *sweep, "hydra.sweep.dir=sequential")
    run(tmp_path, *sweep, "hydra.sweep.dir=parallel", "hydra/launcher=devices", slots)
    assert table(tmp_path / "parallel") == table(tmp_path / "sequential")
