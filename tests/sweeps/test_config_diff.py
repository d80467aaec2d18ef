"""A directory's run is a job's result only where both were asked the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mnist_seq
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from mnist_seq.sweeps.config_diff import require_same_config
from mnist_seq.training import hardware
from tests.conftest import TINY
from tests.e2e.forked_command import run

ASKED = ("model=tiny", "data=single", *TINY)


def same(held: Run, *overrides: str) -> None:
    require_same_config(held, mnist_seq.compose(*overrides), list(overrides), "choose another hydra.sweep.dir")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return mnist_seq.fit(*ASKED, f"hydra.run.dir={tmp_path_factory.mktemp('held') / 'run'}")


@pytest.fixture
def open_held(tmp_path: Path) -> Run:
    """A run that was asked to take what the machine has: bfloat16, and the fallback digits."""
    asked = [it for it in ASKED if not it.startswith(("trainer=", "data.digits="))]
    run = Run(tmp_path / "run")
    config = mnist_seq.compose(*asked)
    config.trainer = hardware.resolve_auto(config.trainer)
    config.trainer.precision, config.data.digits = "bf16-mixed", "uci"
    run.create(config, asked)
    return run


def test_a_job_that_asks_for_the_same_is_the_run_of_its_directory(held: Run) -> None:
    same(held, *ASKED)
    same(held, *reversed(ASKED))
    same(held, *ASKED, "logger=tensorboard", "report=true")
    same(held, *ASKED, "model.dropout=0.0")  # the default, written out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["optim.lr=0.5"], "optim.lr=0.002, not 0.5"),
        (["seed=1"], "seed=0, not 1"),
        (["trainer.max_steps=13"], "trainer.max_steps=12, not 13"),
        (["callbacks=ema"], r"callbacks.ema._target_=None, not "),
        (["data.digits=auto"], "data.digits=uci, not auto"),
        (["data.digits=mnist"], "data.digits=uci, not mnist"),
        (["trainer=gpu"], "and . more: "),
        (["trainer.precision=bf16-mixed"], "trainer.precision=32-true, not bf16-mixed"),
    ],
)
def test_a_job_that_asks_for_something_else_is_refused_by_what_differs(held: Run, more: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told) as refused:
        same(held, *ASKED, *more)
    assert str(held.path) in str(refused.value)
    assert str(refused.value).endswith("choose another hydra.sweep.dir")


def test_a_preset_that_changed_is_noticed_under_the_same_overrides(held: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = mnist_seq.compose(*ASKED)
    changed.optim.weight_decay = 0.3
    with pytest.raises(UserError, match="optim.weight_decay=0.05, not 0.3"):
        require_same_config(held, changed, list(held.metrics["overrides"]), "choose another hydra.sweep.dir")


def test_what_was_left_to_the_machine_may_be_found_otherwise_on_another(open_held: Run) -> None:
    asked = open_held.metrics["overrides"]
    same(open_held, *asked)
    with pytest.raises(UserError, match="trainer.precision=bf16-mixed, not 32-true"):
        same(open_held, *asked, "trainer.precision=32-true")
    with pytest.raises(UserError, match="data.digits=uci, not mnist"):
        same(open_held, *asked, "data.digits=mnist")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=devices", "hydra.launcher.n_jobs=2"]])
def test_a_sweep_takes_no_other_jobs_run_for_its_own(launcher: list[str], tmp_path: Path) -> None:
    """Neither a finished one, whose results it would show, nor one that broke off, with which it would go on."""
    sweep = ("mnist_seq.train", "-m", *ASKED, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}", *launcher)
    run(tmp_path, *sweep, "optim.lr=1e-3,2e-3")
    kept: dict[str, Any] = {str(number): Run(tmp_path / "sweep" / str(number)) for number in (0, 1)}
    kept["1"].weights.unlink()  # it broke off after its last checkpoint
    before = {name: it.text for name, it in kept.items()}
    _, err = run(tmp_path, *sweep, "optim.lr=1e-3,5e-3", code=1)
    assert "optim.lr=0.002, not 0.005: choose another hydra.sweep.dir" in err + _said(tmp_path)
    _, err = run(tmp_path, *sweep, "optim.lr=4e-3,2e-3", code=1)
    assert "optim.lr=0.001, not 0.004: choose another hydra.sweep.dir" in err + _said(tmp_path)
    assert {name: it.text for name, it in kept.items()} == before
    assert kept["1"].finished, "its own job went on with it"
    run(tmp_path, *sweep, "optim.lr=1e-3,2e-3")


def _said(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("sweep/*/output.txt"))
