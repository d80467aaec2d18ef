"""Processes side by side: each in its slot, each alone, none left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mnist_seq.sweeps import workers
from mnist_seq.sweeps.progress import StopOnFailure, report_progress
from mnist_seq.sweeps.workers import Job, RunningJob, Slot


class Ear:
    """Hears who runs beside whom, and who ended how."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.codes: dict[str, int | None] = {}

    def on_poll(self, running: Sequence[RunningJob], waiting: int) -> None:
        self.together.append(len(running))
        assert len({id(each.slot) for each in running}) == len(running), "two in a slot"

    def on_job_end(self, running: RunningJob) -> None:
        self.codes[running.job.name] = running.process.exitcode


def tell(*names: str) -> None:
    print(*(os.environ.get(name) for name in names))


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def leave(code: int) -> None:
    os._exit(code)


def test_cores_and_devices_are_shared_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 16)
    assert workers.gpu_slots(["0", "3"], jobs_per_gpu=2) == [Slot(4, "0"), Slot(4, "3")] * 2
    assert workers.gpu_slots(["0"], jobs_per_gpu=32)[0].threads == 1
    assert workers.cpu_slots() == [Slot(1)] * 16
    assert workers.cpu_slots(3) == [Slot(5)] * 3
    assert workers.cpu_slots(threads=4) == [Slot(4)] * 4
    assert workers.cpu_slots(2, threads=1) == [Slot(1)] * 2


def test_a_job_sees_the_device_and_the_threads_of_its_slot_alone(tmp_path: Path) -> None:
    names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    before = dict(os.environ)
    jobs = [Job(name, tmp_path / name, tell, names) for name in "abc"]
    ear = Ear()
    workers.run_jobs(jobs, [Slot(3, "5"), Slot(2, "GPU-7")], ear)
    said = sorted((tmp_path / name / workers.OUTPUT_FILE).read_text() for name in "ab")
    assert said == ["2 GPU-7\n", "3 5\n"]
    assert ear.codes == dict.fromkeys("abc", 0)
    assert max(ear.together) == 2
    assert dict(os.environ) == before


def test_one_that_dies_stops_no_other(tmp_path: Path) -> None:
    ear = Ear()
    jobs = [Job("dies", tmp_path / "dies", leave, (7,)), Job("lives", tmp_path / "lives", tell, ("HOME",))]
    workers.run_jobs(jobs, [Slot(1)], ear)
    assert ear.codes == {"dies": 7, "lives": 0}


def test_who_is_stopped_stops_its_processes(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    started: list[RunningJob] = []

    class Impatient(Ear):
        def on_poll(self, running: Sequence[RunningJob], waiting: int) -> None:
            started.extend(running)
            raise Enough

    with pytest.raises(Enough):
        workers.run_jobs([Job("long", tmp_path, sleep, (60,))], [Slot(1)], Impatient())
    assert started[0].process.exitcode == -signal.SIGTERM


def test_a_job_ends_with_who_started_it(tmp_path: Path) -> None:
    """Also where that was killed, and could tell it nothing."""
    outer = workers.start_job(Job("outer", tmp_path / "outer", nest, (tmp_path,)), Slot(1))
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
        raise AssertionError("it lives on")


def nest(folder: Path) -> None:
    workers.run_jobs([Job("inner", folder / "inner", linger, (folder,))], [Slot(1)], Ear())


def linger(folder: Path) -> None:
    (folder / "pid").write_text(str(os.getpid()))
    time.sleep(60)


def test_who_is_to_stop_at_a_failure_begins_no_other_job(tmp_path: Path) -> None:
    jobs = [Job(name, tmp_path / name, leave, (code,)) for name, code in (("well", 0), ("fails", 7), ("later", 0))]
    with pytest.raises(StopOnFailure), report_progress(3, stop_on_failure=True) as report:
        workers.run_jobs(jobs, [Slot(1)], report)
    assert not (tmp_path / "later").exists()
    with report_progress(3) as report:
        workers.run_jobs(jobs, [Slot(1)], report)
    assert (report.num_completed, report.num_failed) == (2, 1)
