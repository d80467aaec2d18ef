"""CPU cores that this process may use: its affinity, and the quota of its container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_cores(root: Path = Path("/")) -> int:
    """Number of CPU cores that this process may use: those of its affinity, or its cgroup's quota if that is smaller.

    A fraction of a core is left unused: threads that exceed a quota are all stopped until the next period.

    Args:
        root: of the file system.
    """
    return max(1, int(min([_affinity(), *_quotas(root)])))


def respect_quota() -> None:
    """Have libraries that are loaded later start no more threads than the quota allows: OpenMP knows nothing of it."""
    if (cores := available_cores()) < _affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


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
