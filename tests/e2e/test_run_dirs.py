"""Several processes and one run directory; commands that are pasted; names that could be taken for others."""

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
LONGER = (*TINY, "trainer.max_steps=4000", "trainer.val_check_interval=20")
NAMED_ALIKE = """
import sys
from mnist_seq import command, train
command._run_directory = lambda resume: resume or "outputs/2026-01-31/12-00-00"
train.main()
"""
"""`train`, which takes it to be the same second each time."""


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be looked at"


def test_one_process_trains_in_a_run_directory_at_a_time_and_a_kill_frees_it(tmp_path: Path, tiny_run: Run) -> None:
    first = start(tmp_path, "mnist_seq.train", *LONGER, "hydra.run.dir=run")
    wait_for(tmp_path / "run/checkpoints/last.ckpt", first)
    config = (tmp_path / "run/config.yaml").read_bytes()
    for asked in (["hydra.run.dir=run", *TINY], ["resume=run", "trainer.max_steps=5000"]):
        _, err = run(tmp_path, "mnist_seq.train", *asked, code=1)
        assert f"run is in use by process {first.pid} on " in err
        assert len(err.strip().splitlines()) == 1
    assert (tmp_path / "run/config.yaml").read_bytes() == config
    run(tmp_path, "mnist_seq.evaluate", "run=run", "scenes=20", "report=false")
    assert first.poll() is None, "evaluating stops no training"
    first.kill()
    first.communicate()
    step = Run(tmp_path / "run").logged_metrics[-1]["step"]
    run(tmp_path, "mnist_seq.train", "resume=run", f"trainer.max_steps={int(step) + 20}")
    assert Run(tmp_path / "run").finished


def start_two_in_the_same_second(cwd: Path, *arguments: str) -> Path:
    """Seeds 1 and 2 by the same default name; the folder that holds a directory of each."""
    command = [sys.executable, "-c", NAMED_ALIKE, *arguments]
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


def test_runs_that_are_started_in_the_same_second_do_not_share_a_directory(tmp_path: Path) -> None:
    day = start_two_in_the_same_second(tmp_path, *TINY)
    for path in day.iterdir():
        assert Run(path).config.seed == Run(path).metrics["seed"]
        assert f"seed={Run(path).config.seed}" in Run(path).metrics["overrides"]
    assert {Run(path).config.seed for path in day.iterdir()} == {1, 2}


def test_sweeps_that_are_started_in_the_same_second_do_not_share_a_directory(tmp_path: Path) -> None:
    day = start_two_in_the_same_second(tmp_path, "-m", *TINY, "trainer.max_steps=4")
    for sweep in day.iterdir():
        (job,) = (path.parent for path in sweep.glob("*/weights.safetensors"))
        assert len((sweep / "sweep.csv").read_text().splitlines()) == 2
        assert f"seed-{Run(job).config.seed}" in job.name
        assert not list(sweep.rglob(".lock*"))


def test_a_sweep_that_runs_is_not_started_again_in_its_directory(tmp_path: Path) -> None:
    launcher = ("hydra/launcher=devices", "hydra.launcher.n_jobs=1")
    sweep = ("mnist_seq.train", "-m", *LONGER, *launcher, "seed=0", "hydra.sweep.dir=sweep")
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


def test_a_job_of_a_sweep_that_is_trained_elsewhere_is_refused_and_does_not_count_as_failed_there(
    tmp_path: Path,
) -> None:
    sweep = ("mnist_seq.train", "-m", *LONGER, "seed=0", "hydra.sweep.dir=sweep")
    first = start(tmp_path, *sweep)
    while first.poll() is None and not list(tmp_path.glob("sweep/*/checkpoints/last.ckpt")):
        time.sleep(0.01)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    (job,) = (path.parent.parent for path in tmp_path.glob("sweep/*/checkpoints/last.ckpt"))
    step = int(Run(job).logged_metrics[-1]["step"])
    other = start(tmp_path, "mnist_seq.train", f"resume={job}", f"trainer.max_steps={step + 200}")
    wait_for(job / ".lock.holder", other)
    out, err = run(tmp_path, *sweep, code=1)
    assert f"in use by process {other.pid}" in out + err
    out, err = other.communicate(timeout=200)
    assert other.returncode == 0, out + err
    assert not (job / "failed.txt").exists()


def test_what_is_printed_can_be_pasted(tmp_path: Path) -> None:
    """Trained, stopped, resumed and evaluated in a directory with blanks, brackets, commas and signs in its name."""
    place = "a dir/with [x], and=signs"
    started = start(tmp_path, "mnist_seq.train", *LONGER, f'hydra.run.dir="{place}"')
    wait_for(tmp_path / place / "checkpoints/last.ckpt", started)
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=120)
    assert started.returncode == 143
    python, _, module, *asked = shlex.split(err.strip().rpartition("resume with: ")[2])
    assert (python, module) == ("python", "mnist_seq.train")
    step = int(Run(tmp_path / place).logged_metrics[-1]["step"])
    out, _ = run(tmp_path, module, *asked, f"trainer.max_steps={step + 10}")
    assert f"run directory: {tmp_path / place}" in out
    (line,) = (it for it in out.splitlines() if it.startswith("to evaluate on test: "))
    _, _, module, *asked = shlex.split(line.removeprefix("to evaluate on test: "))
    assert module == "mnist_seq.evaluate"
    out, _ = run(tmp_path, module, *asked, "report=false")
    assert f"added to {tmp_path / place / 'metrics.json'}" in out
    assert Run(tmp_path / place).metrics["test"]["scenes"] == 10_000
    again = 'hydra.sweep.dir="a sweep, [y]"'
    out, _ = run(tmp_path, "mnist_seq.train", "-m", *TINY, "model.num_heads=5", again, code=1)
    assert f"the same command tries them again with '{again}'" in out
    assert [path.name for path in tmp_path.iterdir() if "sweep" in path.name] == ["a sweep, [y]"]


def test_a_run_called_like_an_included_model_is_the_users(tmp_path: Path) -> None:
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
    assert "of 100 scenes it reads none otherwise than grid" in out
    out, _ = run(tmp_path, "mnist_seq.compare", "runs=[grid,pretrained:grid]", "scenes=50")
    assert "A  grid" in out
    assert "B  pretrained:grid" in out
    _, err = run(tmp_path, "mnist_seq.evaluate", "split=test", code=1)
    assert "no trained run under" in err, "the export is none, and grid does not lie under outputs/"


def test_a_run_goes_on_from_anywhere_after_a_change_of_directory(tmp_path: Path) -> None:
    made = ("mnist_seq.synthesise", "data=scatter", "data.digits=uci", "split=train", "scenes=300", "output_dir=set")
    run(tmp_path, *made)
    tiny = [it for it in TINY if not it.startswith("data.digits")]
    moved = ("data.from=set", *tiny, "hydra.job.chdir=true")
    run(tmp_path, "mnist_seq.train", *moved, "hydra.run.dir=first")
    run(tmp_path, "mnist_seq.train", *moved, "hydra.run.dir=second", "init_from=first")
    assert Run(tmp_path / "second").config.init_from == str(tmp_path / "first")
    (tmp_path / "elsewhere").mkdir()
    more = ("trainer.max_steps=14", "hydra.job.chdir=true")
    resumed = run(tmp_path / "elsewhere", "mnist_seq.train", "resume=../second/checkpoints/last.ckpt", *more[:1])
    assert "second" in resumed[0]
    run(tmp_path, "mnist_seq.train", "resume=second", "trainer.max_steps=16", "hydra.job.chdir=true")
    assert Run(tmp_path / "second").metrics["steps"] == 16
    assert not os.listdir(tmp_path / "elsewhere")  # noqa: PTH208


def test_train_and_test_in_one_command_judges_the_run_just_trained(tmp_path: Path) -> None:
    run(tmp_path, "mnist_seq.train", *TINY, "hydra.run.dir=outputs/earlier")
    out, _ = run(tmp_path, "mnist_seq.train", *TINY, "test=true", "hydra.run.dir=elsewhere", "seed=1")
    assert "test, 10,000 scenes" in out
    assert "to evaluate on test: " not in out
    assert "test" in Run(tmp_path / "elsewhere").metrics
    assert "test" not in Run(tmp_path / "outputs/earlier").metrics
