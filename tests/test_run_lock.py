"""One process trains in a run directory at a time, and processes that are given one name get two directories."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mnist_seq
from mnist_seq import compose_config, run_lock
from mnist_seq.errors import CannotWriteError, UserError
from mnist_seq.run_dir import Run
from tests.conftest import TINY

HOLDER = """
import sys, time
from pathlib import Path
from mnist_seq import run_lock
with run_lock.lock_run_dir(Path(sys.argv[1]), "hydra.run.dir"):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def held(tmp_path: Path) -> object:
    """A directory that another process holds, and that process."""
    directory = tmp_path / "held"
    with subprocess.Popen([sys.executable, "-c", HOLDER, directory], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield directory, process
        process.kill()


def test_a_locked_directory_is_refused_with_its_process_and_the_way_out(
    held: tuple[Path, subprocess.Popen[str]],
) -> None:
    directory, process = held
    with pytest.raises(UserError) as refused, run_lock.lock_run_dir(directory, "hydra.run.dir"):
        pass
    message = str(refused.value)
    assert f"{directory} is in use by process {process.pid} on " in message
    assert "choose another hydra.run.dir" in message


def test_who_waits_for_a_directory_gets_it_once_it_is_free(held: tuple[Path, subprocess.Popen[str]]) -> None:
    directory, process = held
    killer = threading.Timer(1.5, process.kill)
    killer.start()
    with run_lock.wait_for_run_dir(directory, "hydra.run.dir"):
        assert process.wait() == -signal.SIGKILL
    killer.join()


def test_a_killed_process_releases_its_lock(held: tuple[Path, subprocess.Popen[str]]) -> None:
    directory, process = held
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with run_lock.lock_run_dir(directory, "hydra.run.dir"):
        assert f"process {os.getpid()} on" in (directory / ".lock.holder").read_text()


def test_a_new_run_does_not_start_in_a_locked_directory(held: tuple[Path, subprocess.Popen[str]]) -> None:
    directory, _ = held
    before = sorted(path.name for path in directory.iterdir())
    with pytest.raises(UserError, match="is in use by process"):
        mnist_seq.fit("data=grid", *TINY, f"hydra.run.dir={directory}")
    assert sorted(path.name for path in directory.iterdir()) == before


def test_a_locked_run_can_be_read_but_not_resumed(tiny_run: Run) -> None:
    metrics = tiny_run.metrics
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tiny_run.path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="is in use by process"):
            mnist_seq.fit(f"resume={tiny_run.path}", "trainer.max_steps=99")
        assert mnist_seq.load(tiny_run.path).model.spec
    finally:
        holder.kill()
        holder.wait()
    assert tiny_run.metrics == metrics
    assert tiny_run.config.trainer.max_steps == 12


def test_a_lock_is_reentrant_in_its_thread_only(tmp_path: Path) -> None:
    refused: list[Exception] = []

    def try_it() -> None:
        try:
            with run_lock.lock_run_dir(tmp_path, "hydra.run.dir"):
                pass
        except UserError as problem:
            refused.append(problem)

    with run_lock.lock_run_dir(tmp_path, "hydra.run.dir"):
        with run_lock.lock_run_dir(tmp_path, "hydra.run.dir"):
            pass
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_an_unwritable_run_directory_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match=r"choose another hydra.run.dir"):
        mnist_seq.fit("data=grid", *TINY, f"hydra.run.dir={tmp_path}/file/run")


def test_a_default_directory_in_use_gets_a_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a run that has begun in it, or by a process that is about to begin one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compose_config, "default_run_dir", lambda resume: resume or "outputs/12-00-00")
    runs = [mnist_seq.fit("data=grid", *TINY, "trainer.max_steps=2", f"seed={seed}").path for seed in (0, 1)]
    assert runs == [Path("outputs/12-00-00"), Path("outputs/12-00-00-2")]
    assert [Run(path).metrics["seed"] for path in runs] == [0, 1]
    third = Path("outputs/12-00-00-3")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, third], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with run_lock.lock_new_run_dir(Path("outputs/12-00-00"), "hydra.run.dir") as place:
            assert place == Path("outputs/12-00-00-4")
    finally:
        holder.kill()
        holder.wait()


def test_a_named_directory_gets_no_suffix(tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    mnist_seq.fit("data=grid", *TINY, "trainer.max_steps=2", f"hydra.run.dir={directory}")
    with pytest.raises(UserError, match=f"already holds a run: add resume={directory} to resume it, or choose another"):
        mnist_seq.fit("data=grid", *TINY, f"hydra.run.dir={directory}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
