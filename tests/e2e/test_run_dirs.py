"""Run directories: concurrent processes, printed commands, ambiguous names, changed working directories."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.e2e.background_command import environment, start
from tests.e2e.forked_command import run

pytestmark = pytest.mark.slow
ENDLESS = (*TINY, "trainer.max_steps=1000000", "trainer.val_check_interval=20")
"""Training that runs until it is stopped, however fast the machine."""
TRAIN_AT_A_FIXED_TIME = """
import sys
from mnist_seq import train
from mnist_seq.config import hydra_compat
register_resolver = hydra_compat.register_resolver
def register(name, resolver, **options):
    if name == "mnist_seq.run_directory":
        resolver = lambda resume: resume or "outputs/2026-01-31/12-00-00"
    register_resolver(name, resolver, **options)
hydra_compat.register_resolver = register
train.main()
"""
"""`train` with a default run directory of a fixed time."""


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.01)
    assert process.poll() is None, "the command ended too early"


def test_a_run_directory_is_locked_while_it_is_trained_in_and_free_after_a_kill(tmp_path: Path, tiny_run: Run) -> None:
    first = start(tmp_path, "mnist_seq.train", *ENDLESS, "hydra.run.dir=run")
    wait_for(tmp_path / "run/checkpoints/last.ckpt", first)
    config = (tmp_path / "run/config.yaml").read_bytes()
    for arguments in (["hydra.run.dir=run", *TINY], ["resume=run", "trainer.max_steps=1000001"]):
        _, err = run(tmp_path, "mnist_seq.train", *arguments, code=1)
        assert f"run is in use by process {first.pid} on " in err
        assert len(err.strip().splitlines()) == 1
    assert (tmp_path / "run/config.yaml").read_bytes() == config
    run(tmp_path, "mnist_seq.evaluate", "run=run", "scenes=20", "report=false")
    assert first.poll() is None, "evaluation does not stop training"
    first.kill()
    first.communicate()
    step = Run(tmp_path / "run").logged_metrics[-1]["step"]
    run(tmp_path, "mnist_seq.train", "resume=run", f"trainer.max_steps={int(step) + 20}")
    assert Run(tmp_path / "run").finished


def start_two_in_the_same_second(cwd: Path, *arguments: str) -> Path:
    """Train seeds 1 and 2 with the same default run directory; return the folder that holds both."""
    command = [sys.executable, "-c", TRAIN_AT_A_FIXED_TIME, *arguments]
    pair = [
        subprocess.Popen([*command, f"seed={seed}"], cwd=cwd, env=environment(), stderr=subprocess.PIPE, text=True)
        for seed in (1, 2)
    ]
    for process in pair:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    day = cwd / "outputs/2026-01-31"
    assert sorted(path.name for path in day.iterdir()) == ["12-00-00", "12-00-00-2"]
    return day


def test_runs_started_in_the_same_second_get_different_directories(tmp_path: Path) -> None:
    day = start_two_in_the_same_second(tmp_path, *TINY)
    for path in day.iterdir():
        assert Run(path).config.seed == Run(path).metrics["seed"]
        assert f"seed={Run(path).config.seed}" in Run(path).metrics["overrides"]
    assert {Run(path).config.seed for path in day.iterdir()} == {1, 2}


def test_sweeps_started_in_the_same_second_get_different_directories(tmp_path: Path) -> None:
    day = start_two_in_the_same_second(tmp_path, "-m", *TINY, "trainer.max_steps=4")
    for sweep in day.iterdir():
        (job,) = (path.parent for path in sweep.glob("*/weights.safetensors"))
        assert len((sweep / "sweep.csv").read_text().splitlines()) == 2
        assert f"seed-{Run(job).config.seed}" in job.name
        assert not list(sweep.rglob(".lock*"))


def test_a_sweep_directory_is_locked_while_the_sweep_runs(tmp_path: Path) -> None:
    launcher = ("hydra/launcher=devices", "hydra.launcher.n_jobs=1", "hydra.launcher.threads=1")
    sweep = ("mnist_seq.train", "-m", *ENDLESS, *launcher, "seed=0", "hydra.sweep.dir=sweep")
    first = start(tmp_path, *sweep)
    while first.poll() is None and not list(tmp_path.glob("sweep/*/checkpoints/last.ckpt")):
        time.sleep(0.01)
    before = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    _, err = run(tmp_path, *sweep, code=1)
    assert f"sweep is in use by process {first.pid} on " in err
    assert "choose another hydra.sweep.dir" in err
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == before
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    assert first.returncode == 130
    assert not list((tmp_path / "sweep").rglob("failed.txt"))
    assert not list((tmp_path / "sweep").rglob(".lock*"))


def test_a_sweep_refuses_a_job_that_another_process_resumes_and_leaves_it_intact(
    tmp_path: Path,
) -> None:
    sweep = ("mnist_seq.train", "-m", *ENDLESS, "seed=0", "hydra.sweep.dir=sweep")
    first = start(tmp_path, *sweep)
    while first.poll() is None and not list(tmp_path.glob("sweep/*/checkpoints/last.ckpt")):
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    (job,) = (path.parent.parent for path in tmp_path.glob("sweep/*/checkpoints/last.ckpt"))
    other = start(tmp_path, "mnist_seq.train", f"resume={job}")
    wait_for(job / ".lock.holder", other)
    out, err = run(tmp_path, *sweep, code=1)
    assert f"in use by process {other.pid}" in out + err
    other.send_signal(signal.SIGTERM)
    out, err = other.communicate(timeout=200)
    assert other.returncode == 143, out + err
    step = int(Run(job).logged_metrics[-1]["step"])
    run(tmp_path, "mnist_seq.train", f"resume={job}", f"trainer.max_steps={step + 10}")
    assert Run(job).finished
    assert not (job / "failed.txt").exists()


def test_printed_commands_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    """Even if the name of the run directory has spaces, brackets, commas and equals signs."""
    run_dir = "a dir/with [x], and=signs"
    started = start(tmp_path, "mnist_seq.train", *ENDLESS, f'hydra.run.dir="{run_dir}"')
    wait_for(tmp_path / run_dir / "checkpoints/last.ckpt", started)
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 143
    python, _, module, *arguments = shlex.split(err.strip().rpartition("resume with: ")[2])
    assert (python, module) == ("python", "mnist_seq.train")
    step = int(Run(tmp_path / run_dir).logged_metrics[-1]["step"])
    out, _ = run(tmp_path, module, *arguments, f"trainer.max_steps={step + 10}")
    assert f"run directory: {tmp_path / run_dir}" in out
    (line,) = (it for it in out.splitlines() if it.startswith("to evaluate on test: "))
    _, _, module, *arguments = shlex.split(line.removeprefix("to evaluate on test: "))
    assert module == "mnist_seq.evaluate"
    out, _ = run(tmp_path, module, *arguments, "report=false")
    assert f"added to {tmp_path / run_dir / 'metrics.json'}" in out
    assert Run(tmp_path / run_dir).metrics["test"]["scenes"] == 10_000
    override = 'hydra.sweep.dir="a sweep, [y]"'
    out, _ = run(tmp_path, "mnist_seq.train", "-m", *TINY, "model.num_heads=5", override, code=1)
    assert f"rerun the same command with '{override}' to retry" in out
    assert [path.name for path in tmp_path.iterdir() if "sweep" in path.name] == ["a sweep, [y]"]


def test_a_run_named_like_a_pretrained_model_is_never_confused_with_it(tmp_path: Path) -> None:
    run(tmp_path, "mnist_seq.train", *TINY, "hydra.run.dir=grid")
    out, _ = run(tmp_path, "mnist_seq.evaluate", "run=grid", "split=test")
    assert "added to grid/metrics.json" in out
    own = Run(tmp_path / "grid").metrics["test"]["exact_match"]
    uci = ("data=grid", "data.digits=uci", "split=test", "scenes=500")
    out, _ = run(tmp_path, "mnist_seq.evaluate", "run=pretrained:grid", *uci)
    assert "added to" not in out
    assert "pretrained:grid, digits: uci" in out
    assert Run(tmp_path / "grid").metrics["test"]["exact_match"] == own < 0.5
    assert len(list((tmp_path / "outputs/evaluations/pretrained/grid").glob("test_*/evaluation.json"))) == 1
    run(tmp_path, "mnist_seq.report", "run=grid")
    assert (tmp_path / "grid/report.html").is_file()
    out, _ = run(tmp_path, "mnist_seq.export", "run=grid", "name=mine")
    assert "predictions differ from grid on 0 of 100 scenes" in out
    out, _ = run(tmp_path, "mnist_seq.compare", "runs=[grid,pretrained:grid]", "scenes=50")
    assert "A  grid" in out
    assert "B  pretrained:grid" in out
    _, err = run(tmp_path, "mnist_seq.evaluate", "split=test", code=1)
    assert "no trained run under" in err, "an export is no run, and grid does not lie under outputs/"


def test_a_run_can_be_resumed_from_any_directory_after_hydra_job_chdir(tmp_path: Path) -> None:
    synthesise = (
        "mnist_seq.synthesise",
        "data=scatter",
        "data.digits=uci",
        "split=train",
        "scenes=300",
        "output_dir=set",
    )
    run(tmp_path, *synthesise)
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    overrides = ("data.from=set", *tiny, "hydra.job.chdir=true")
    run(tmp_path, "mnist_seq.train", *overrides, "hydra.run.dir=first")
    run(tmp_path, "mnist_seq.train", *overrides, "hydra.run.dir=second", "init_from=first")
    assert Run(tmp_path / "second").config.init_from == str(tmp_path / "first")
    (tmp_path / "elsewhere").mkdir()
    more = ("trainer.max_steps=14", "hydra.job.chdir=true")
    resumed = run(tmp_path / "elsewhere", "mnist_seq.train", "resume=../second/checkpoints/last.ckpt", *more[:1])
    assert "second" in resumed[0]
    _, err = run(tmp_path, "mnist_seq.train", "resume=second", "hydra.run.dir=third", code=1)
    assert "hydra.run.dir=third has no effect on a resumed run: leave it out" in err.replace(f"{tmp_path}/", "")
    run(tmp_path, "mnist_seq.train", "resume=second", "trainer.max_steps=16", "hydra.job.chdir=true")
    assert Run(tmp_path / "second").metrics["steps"] == 16
    assert not os.listdir(tmp_path / "elsewhere")  # noqa: PTH208


def test_train_with_test_evaluates_the_run_just_trained(tmp_path: Path) -> None:
    run(tmp_path, "mnist_seq.train", *TINY, "hydra.run.dir=outputs/earlier")
    out, _ = run(tmp_path, "mnist_seq.train", *TINY, "test=true", "hydra.run.dir=elsewhere", "seed=1")
    assert "test, 10,000 scenes" in out
    assert "to evaluate on test: " not in out
    assert "test" in Run(tmp_path / "elsewhere").metrics
    assert "test" not in Run(tmp_path / "outputs/earlier").metrics
