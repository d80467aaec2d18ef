"""Parallel jobs: one process per slot, isolated from each other, none left behind."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnist_seq.sweeps import workers
from mnist_seq.sweeps.progress import StopOnFailure, report_progress
from mnist_seq.sweeps.workers import Job, RunningJob, Slot


class Recorder:
    """Records how many jobs run at once, and the exit code of each."""

    def __init__(self) -> None:
        self.num_running: list[int] = []
        self.exit_codes: dict[str, int | None] = {}

    def on_poll(self, running: Sequence[RunningJob], num_waiting: int) -> None:
        self.num_running.append(len(running))
        assert len({id(it.slot) for it in running}) == len(running), "two jobs in a slot"

    def on_job_end(self, running: RunningJob) -> None:
        self.exit_codes[running.job.name] = running.process.exitcode


def print_variables(*names: str) -> None:
    print(*(os.environ.get(name) for name in names))


def print_frozen() -> None:
    print(gc.get_freeze_count())


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def exit_with(code: int) -> None:
    os._exit(code)


def test_slots_share_cores_and_devices_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 16)
    assert workers.gpu_slots(["0", "3"], jobs_per_gpu=2) == [Slot(4, "0"), Slot(4, "3")] * 2
    assert workers.gpu_slots(["0"], jobs_per_gpu=32)[0].threads == 1
    assert workers.cpu_slots() == [Slot(1)] * 16
    assert workers.cpu_slots(3) == [Slot(5)] * 3
    assert workers.cpu_slots(threads=4) == [Slot(4)] * 4
    assert workers.cpu_slots(2, threads=1) == [Slot(1)] * 2


def test_the_fork_server_is_started_for_cpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, jobs are spawned."""
    started: list[bool] = []
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", lambda: started.append(True))
    workers.start_fork_server([Slot(1, "0")])
    monkeypatch.setattr(workers.sys, "platform", "win32")
    workers.start_fork_server([Slot(1)])
    assert not started
    monkeypatch.setattr(workers.sys, "platform", "linux")
    workers.start_fork_server([Slot(1)] * 2)
    assert started


def test_the_garbage_collector_skips_what_the_fork_server_imported(tmp_path: Path) -> None:
    workers.run_jobs([Job("a", tmp_path / "a", print_frozen)], [Slot(1)], Recorder())
    assert int((tmp_path / "a" / workers.OUTPUT_FILE).read_text()) > 100_000


def test_jobs_on_the_cpu_see_no_gpu(tmp_path: Path) -> None:
    job = Job("a", tmp_path / "a", print_variables, ("CUDA_VISIBLE_DEVICES",))
    workers.run_jobs([job], [Slot(1)], Recorder())
    assert (tmp_path / "a" / workers.OUTPUT_FILE).read_text() == "\n"


def test_a_job_sees_only_the_device_and_threads_of_its_slot(tmp_path: Path) -> None:
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    environment = dict(os.environ)
    jobs = [Job(name, tmp_path / name, print_variables, names) for name in "abc"]
    recorder = Recorder()
    workers.run_jobs(jobs, [Slot(3, "5"), Slot(2, "GPU-7")], recorder)
    outputs = sorted((tmp_path / name / workers.OUTPUT_FILE).read_text() for name in "ab")
    assert outputs == ["2 GPU-7\n", "3 5\n"]
    assert recorder.exit_codes == dict.fromkeys("abc", 0)
    assert max(recorder.num_running) == 2
    assert dict(os.environ) == environment


def test_a_job_that_dies_stops_no_other(tmp_path: Path) -> None:
    recorder = Recorder()
    jobs = [
        Job("dies", tmp_path / "dies", exit_with, (7,)),
        Job("other", tmp_path / "other", print_variables, ("HOME",)),
    ]
    workers.run_jobs(jobs, [Slot(1)], recorder)
    assert recorder.exit_codes == {"dies": 7, "other": 0}


def test_an_interrupted_launcher_terminates_its_jobs(tmp_path: Path) -> None:
    class Interruption(Exception):
        pass

    started: list[RunningJob] = []

    class Interrupter(Recorder):
        def on_poll(self, running: Sequence[RunningJob], num_waiting: int) -> None:
            started.extend(running)
            raise Interruption

    with pytest.raises(Interruption):
        workers.run_jobs([Job("long", tmp_path, sleep, (60,))], [Slot(1)], Interrupter())
    assert started[0].process.exitcode == -signal.SIGTERM


def test_a_job_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    outer = workers.start_job(Job("outer", tmp_path / "outer", start_inner_job, (tmp_path,)), Slot(1))
    inner = tmp_path / "pid"
    while not inner.exists() or not inner.read_text():
        assert outer.is_alive()
        time.sleep(0.02)
    pid = int(inner.read_text())
    outer.kill()
    outer.join()
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists() or "Z (zombie)" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the inner job outlived its parent")


def start_inner_job(folder: Path) -> None:
    workers.run_jobs([Job("inner", folder / "inner", write_pid_and_sleep, (folder,))], [Slot(1)], Recorder())


def write_pid_and_sleep(folder: Path) -> None:
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(60)


def test_stop_on_failure_starts_no_further_job(tmp_path: Path) -> None:
    jobs = [
        Job(name, tmp_path / name, exit_with, (code,)) for name, code in (("succeeds", 0), ("fails", 7), ("later", 0))
    ]
    with pytest.raises(StopOnFailure), report_progress(3, stop_on_failure=True) as reporter:
        workers.run_jobs(jobs, [Slot(1)], reporter)
    assert not (tmp_path / "later").exists()
    with report_progress(3) as reporter:
        workers.run_jobs(jobs, [Slot(1)], reporter)
    assert (reporter.num_completed, reporter.num_failed) == (2, 1)
