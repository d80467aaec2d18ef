"""A job may only take over the run of its directory if both have the same config."""

from __future__ import annotations

from pathlib import Path

import pytest

import mnist_seq
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from mnist_seq.sweeps.config_diff import require_same_config
from mnist_seq.training import hardware
from tests.conftest import TINY
from tests.e2e.forked_command import run

OVERRIDES = ("model=tiny", "data=single", *TINY, "trainer.precision=32-true")


def require_same(run: Run, *overrides: str) -> None:
    require_same_config(run, mnist_seq.compose(*overrides), list(overrides), "choose another hydra.sweep.dir")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return mnist_seq.fit(*OVERRIDES, f"hydra.run.dir={tmp_path_factory.mktemp('finished') / 'run'}")


@pytest.fixture
def auto_run(tmp_path: Path) -> Run:
    """A run whose trainer and digits were left to the machine, which resolved them to bfloat16 and uci."""
    overrides = [it for it in OVERRIDES if not it.startswith(("trainer=", "trainer.precision=", "data.digits="))]
    run = Run(tmp_path / "run")
    config = mnist_seq.compose(*overrides)
    config.trainer = hardware.resolve_auto(config.trainer)
    config.trainer.precision, config.data.digits = "bf16-mixed", "uci"
    run.create(config, overrides)
    return run


def test_equal_configs_are_accepted(finished_run: Run) -> None:
    require_same(finished_run, *OVERRIDES)
    require_same(finished_run, *reversed(OVERRIDES))
    require_same(finished_run, *OVERRIDES, "logger=tensorboard", "report=true", "test=true")
    require_same(finished_run, *OVERRIDES, "model.dropout=0.0")  # the default, spelled out


@pytest.mark.parametrize(
    ("extra", "difference"),
    [
        (["optim.lr=0.5"], "optim.lr=0.002, not 0.5"),
        (["seed=1"], "seed=0, not 1"),
        (["trainer.max_steps=13"], "trainer.max_steps=12, not 13"),
        (["callbacks=ema"], r"callbacks.ema._target_=None, not "),
        (["data.digits=auto"], "data.digits=uci, not auto"),
        (["data.digits=mnist"], "data.digits=uci, not mnist"),
        (["trainer=gpu", "seed=1", "optim.lr=0.5"], "and . more: "),
        (["trainer.precision=bf16-mixed"], "trainer.precision=32-true, not bf16-mixed"),
    ],
)
def test_a_different_config_is_refused_and_the_differences_are_named(
    finished_run: Run, extra: list[str], difference: str
) -> None:
    with pytest.raises(UserError, match=difference) as error:
        require_same(finished_run, *OVERRIDES, *extra)
    assert str(finished_run.path) in str(error.value)
    assert str(error.value).endswith("choose another hydra.sweep.dir")


def test_an_edited_preset_is_refused_under_the_same_overrides(finished_run: Run) -> None:
    config = mnist_seq.compose(*OVERRIDES)
    config.optim.weight_decay = 0.3
    with pytest.raises(UserError, match="optim.weight_decay=0.05, not 0.3"):
        require_same_config(finished_run, config, finished_run.metrics["overrides"], "choose another hydra.sweep.dir")


def test_auto_values_may_be_resolved_differently_on_another_machine(auto_run: Run) -> None:
    overrides = auto_run.metrics["overrides"]
    require_same(auto_run, *overrides)
    with pytest.raises(UserError, match="trainer.precision=bf16-mixed, not 32-true"):
        require_same(auto_run, *overrides, "trainer.precision=32-true")
    with pytest.raises(UserError, match="data.digits=uci, not mnist"):
        require_same(auto_run, *overrides, "data.digits=mnist")


def test_digits_of_synthetic_scenes_beside_images_may_be_resolved_too(tmp_path: Path) -> None:
    overrides = ["experiment=finetune", f"data.from={tmp_path}"]
    run, config = Run(tmp_path / "run"), mnist_seq.compose(*overrides)
    config.trainer = hardware.resolve_auto(config.trainer)
    config.data.synthetic.digits = "mnist"  # type: ignore[attr-defined]
    run.create(config, overrides)
    require_same(run, *overrides)
    with pytest.raises(UserError, match="data.synthetic.digits=mnist, not uci"):
        require_same(run, *overrides, "data.synthetic.digits=uci")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=devices", "hydra.launcher.n_jobs=2"]])
def test_a_sweep_never_takes_over_the_run_of_another_job(launcher: list[str], tmp_path: Path) -> None:
    """Neither a finished run, whose results it would report, nor an interrupted one, which it would resume."""
    directories = ("hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}")
    sweep = ("mnist_seq.train", "-m", *OVERRIDES, *directories, *launcher)
    run(tmp_path, *sweep, "optim.lr=1e-3,2e-3")
    runs = {number: Run(tmp_path / "sweep" / str(number)) for number in (0, 1)}
    runs[1].weights.unlink()  # as if interrupted after its last checkpoint
    before = {number: it.config_text for number, it in runs.items()}
    _, err = run(tmp_path, *sweep, "optim.lr=1e-3,5e-3", code=1)
    assert "optim.lr=0.002, not 0.005: choose another hydra.sweep.dir" in err + _job_outputs(tmp_path)
    _, err = run(tmp_path, *sweep, "optim.lr=4e-3,2e-3", code=1)
    assert "optim.lr=0.001, not 0.004: choose another hydra.sweep.dir" in err + _job_outputs(tmp_path)
    assert {number: it.config_text for number, it in runs.items()} == before
    assert runs[1].finished, "its own job resumed it"
    run(tmp_path, *sweep, "optim.lr=1e-3,2e-3")


def _job_outputs(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("sweep/*/output.txt"))
