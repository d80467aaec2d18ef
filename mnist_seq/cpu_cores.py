"""CPU cores that this process may use: its affinity, and the quota of its container."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

_SAMPLE_SECONDS = 0.5
"""How long the load of the cores is watched."""
QUOTA_VARIABLE = "MNIST_SEQ_QUOTA"
"""Environment variable with the value of OMP_NUM_THREADS that the quota chose."""


def available_cores(root: Path = Path("/")) -> int:
    """Number of CPU cores that this process may use: those of its affinity, or its cgroup's quota if that is smaller.

    A fraction of a core is left unused: threads that exceed a quota are all stopped until the next period.

    Args:
        root: of the file system.
    """
    return max(1, int(min([_affinity(), *_quotas(root)])))


def idle_cores(root: Path = Path("/")) -> int:
    """Number of the available cores that other processes leave idle at present, at least 1; Linux only, else all.

    Threads that run in lockstep all wait for the one whose core is shared: one thread fewer is faster. Processes of low
    priority (`nice`) do not count, since they give way, unless this one has a low priority too.

    Args:
        root: of the file system.
    """
    own, before = time.process_time(), _busy_seconds(root)
    if before == 0:
        return available_cores(root)
    time.sleep(_SAMPLE_SECONDS)
    own, after = time.process_time() - own, _busy_seconds(root)
    busy = max(0.0, after - before - own) / _SAMPLE_SECONDS
    return max(1, min(available_cores(root), round(_affinity() - busy)))


def _busy_seconds(root: Path) -> float:
    """Seconds for which the cores of the affinity were busy since the machine started; 0 where that is unknown."""
    allowed = {f"cpu{core}" for core in os.sched_getaffinity(0)} if hasattr(os, "sched_getaffinity") else set()
    ticks = 0
    for name, *counts in map(str.split, _read(root / "proc/stat").splitlines()):
        if name in allowed:
            user, nice, system, _idle, _iowait, *interrupts_and_steal = map(int, counts[:8])
            ticks += user + nice * (os.nice(0) > 0) + system + sum(interrupts_and_steal)
    return ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0


def respect_quota() -> None:
    """Have libraries that are loaded later start no more threads than the quota allows: OpenMP knows nothing of it."""
    if "OMP_NUM_THREADS" not in os.environ and (cores := available_cores()) < _affinity():
        os.environ["OMP_NUM_THREADS"] = os.environ[QUOTA_VARIABLE] = str(cores)


def user_chose_threads() -> bool:
    """Whether OMP_NUM_THREADS is set, and not by `respect_quota`, in this process or one that started it."""
    return os.environ.get("OMP_NUM_THREADS") not in (None, os.environ.get(QUOTA_VARIABLE))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of this process' cgroup and those above it, by version 1 and 2 of cgroups."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2, alone or beside version 1
            for mount in (root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"):
                for folder in _ancestors(mount, path):
                    yield from _cores(*_read(folder / "cpu.max").split()[:2])
        elif "cpu" in controllers.split(","):
            for mount in (root / "sys/fs/cgroup/cpu", root / "sys/fs/cgroup/cpu,cpuacct"):
                for folder in _ancestors(mount, path):
                    yield from _cores(*(_read(folder / f"cpu.cfs_{key}_us").strip() for key in ("quota", "period")))


def _ancestors(mount: Path, path: str) -> Iterator[Path]:
    """Yield a cgroup's folder and those above it; inside a container, where only the mount itself may exist."""
    folder = mount / path.lstrip("/")
    yield from (folder, *(parent for parent in folder.parents if parent.is_relative_to(mount)))


def _cores(quota: str = "", period: str = "") -> Iterator[float]:
    """Yield a quota in cores, unless there is none: `max` or -1, or no such file."""
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
