"""The cores that a process may use: by its affinity, and by the quota of its container."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_seq import cpu_cores
from mnist_seq.cpu_cores import available_cores

V1 = "4:memory:/a/b\n3:cpuset:/\n2:cpu,cpuacct:/a/b\n1:name=systemd:/a\n0::/\n"
V2 = "0::/a/b\n"


@pytest.fixture(autouse=True)
def _affinity_of_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_cores, "_affinity", lambda: 64)


def make_root(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, text in {"../../../proc/self/cgroup": cgroup, **files}.items():
        path = Path(os.path.normpath(root / "sys/fs/cgroup" / name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        (V2, {"a/b/cpu.max": "200000 100000\n"}, 2),
        (
            V2,
            {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "350000 100000\n"},
            3,
        ),  # of the group above
        (V2, {"cpu.max": "400000 100000\n"}, 4),  # in a container, which sees its own group as the root
        (V2, {"a/b/cpu.max": "50000 100000\n"}, 1),
        (V2, {"a/b/cpu.max": "max 100000\n"}, 64),
        (V2, {"a/b/cpu.max": "nonsense"}, 64),
        (V2, {"a/b/cpu.max": "9900000 100000\n"}, 64),  # more than the affinity
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "600000\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, 6),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "100000\n", "cpu,cpuacct/cpu.cfs_period_us": "50000\n"}, 2),
        (V1, {"cpu/a/b/cpu.cfs_quota_us": "-1\n", "cpu/a/b/cpu.cfs_period_us": "100000\n"}, 64),
        (V1, {"unified/cpu.max": "300000 100000\n"}, 3),
        ("", {}, 64),
    ],
)
def test_quota_of_a_container_limits_the_cores(cgroup: str, files: dict[str, str], cores: int, tmp_path: Path) -> None:
    assert available_cores(make_root(tmp_path, cgroup, files)) == cores


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == 64


@pytest.mark.parametrize(("quota", "before", "after"), [(2, None, "2"), (2, "5", "5"), (64, None, None)])
def test_commands_start_no_more_threads_than_the_quota_allows(
    quota: int, before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user has chosen a number."""
    monkeypatch.setattr(cpu_cores, "available_cores", lambda: quota)
    monkeypatch.setenv("MNIST_SEQ_QUOTA", "")
    monkeypatch.setenv("OMP_NUM_THREADS", before or "")  # restored afterwards
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    cpu_cores.respect_quota()
    assert os.environ.get("OMP_NUM_THREADS") == after


@pytest.mark.parametrize(
    ("user", "nice", "interrupts", "own", "idle"),
    [
        (0.0, 0.0, 0.0, 0.0, 4),
        (0.3, 0.0, 0.1, 0.0, 4),
        (1.0, 0.0, 0.0, 0.0, 3),
        (2.2, 0.0, 0.5, 0.0, 1),
        (9.0, 0.0, 0.0, 0.0, 1),
        (0.0, 4.0, 0.0, 0.0, 4),  # gives way
        (2.0, 0.0, 0.0, 2.0, 4),  # ourselves
    ],
)
def test_cores_that_others_keep_busy_are_not_idle(
    user: float, nice: float, interrupts: float, own: float, idle: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four cores in the affinity; what the others do does not count."""
    monkeypatch.setattr(cpu_cores, "_affinity", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5})
    clock, own_clock, ticks = [0.0], [0.0], os.sysconf("SC_CLK_TCK")
    (tmp_path / "proc").mkdir()

    def write(seconds: float) -> None:
        clock[0] += seconds
        own_clock[0] += own * seconds
        spent = [round(ticks * clock[0] * cores) for cores in (user, nice, 0.0, 1.0, 0.3, 0.0, interrupts, 0.0)]
        lines = ["cpu 9 9 9 9 9 9 9 9 0 0", f"cpu5 {' '.join(map(str, spent))} 0 0"]
        lines += [f"cpu{index} 0 0 0 0 0 0 0 0 0 0" for index in (0, 1, 2)] + [f"cpu3 {ticks * clock[0] * 9:.0f} 0 0 0"]
        (tmp_path / "proc/stat").write_text("\n".join([*lines, "intr 1 2 3"]), encoding="utf-8")

    write(10)
    monkeypatch.setattr(cpu_cores.time, "sleep", write)
    monkeypatch.setattr(cpu_cores.time, "process_time", lambda: own_clock[0])
    assert cpu_cores.idle_cores(tmp_path) == idle


def test_without_counts_of_the_load_all_available_cores_are_idle(tmp_path: Path) -> None:
    root = make_root(tmp_path, V2, {"a/b/cpu.max": "300000 100000\n"})
    assert cpu_cores.idle_cores(root) == 3


def test_quota_is_no_choice_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads still follow the idle cores then, also in a process that inherits the environment."""
    monkeypatch.setattr(cpu_cores, "available_cores", lambda: 2)
    for name in ("OMP_NUM_THREADS", "MNIST_SEQ_QUOTA"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    assert not cpu_cores.user_chose_threads()
    cpu_cores.respect_quota()
    assert not cpu_cores.user_chose_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cpu_cores.user_chose_threads()


def test_torch_is_loaded_after_the_threads_are_chosen() -> None:
    """OpenMP reads the variable once."""
    code = "import mnist_seq.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
