"""One process trains in a run directory at a time: a lock that ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from mnist_seq.errors import CannotWriteError, UserError

LOCK_FILE = ".lock"
"""Of the lock file in a directory; who holds it stands beside it, in `.lock.holder`."""


@contextmanager
def lock_run_dir(run_dir: Path, key: str, lock_file: str = LOCK_FILE) -> Iterator[None]:
    """Keep other processes from training in a directory, which is made, while this one is within.

    What this process holds it may hold again. Whoever only reads the directory needs no lock: its files are replaced
    whole.

    Args:
        key: the override by which another directory is chosen.

    Raises:
        UserError: another process, or another thread of this one, holds it.
        CannotWriteError: the directory cannot be written.
    """
    existed = run_dir.exists()
    lock = _lock(run_dir, key, lock_file)
    if not _try_acquire(lock, run_dir, key):
        raise UserError(
            f"{run_dir} is in use by {_read_holder(run_dir, lock_file)}: wait for it, stop it, or choose another {key}"
        )
    with _release_on_exit(lock, run_dir, lock_file, existed):
        yield


@contextmanager
def lock_new_run_dir(run_dir: Path, key: str, lock_file: str = LOCK_FILE) -> Iterator[Path]:
    """Hold a directory in which no run has begun: the one that is named, or that name with -2, -3, ... after it.

    Two processes that are given the same name at the same time get two directories.
    """
    for number in count(1):
        place = run_dir if number == 1 else run_dir.with_name(f"{run_dir.name}-{number}")
        existed = place.exists()
        lock = _lock(place, key, lock_file)
        if not _try_acquire(lock, place, key):
            continue
        with _release_on_exit(lock, place, lock_file, existed):
            if all(path.name.startswith(LOCK_FILE) for path in place.iterdir()):
                yield place
                return


def _lock(directory: Path, key: str, name: str) -> FileLock:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _write_error(directory, key, problem) from problem
    # flock, which NFS and Lustre pass on to their servers since long; where a file system has none, filelock falls back
    # to a marker that names its process, and takes it over once that is gone.
    return FileLock(directory.resolve() / name, timeout=0, is_singleton=True)


def _try_acquire(lock: FileLock, directory: Path, key: str) -> bool:
    try:
        lock.acquire()
    except Timeout:
        return False
    except OSError as problem:
        raise _write_error(directory, key, problem) from problem
    return True


@contextmanager
def _release_on_exit(lock: FileLock, directory: Path, name: str, existed: bool) -> Iterator[None]:
    """Release the lock afterwards; a directory that was made for it, in which nothing came to be, goes with it."""
    holder = directory.resolve() / f"{name}.holder"
    first = lock.lock_counter == 1
    try:
        if first:
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        if lock.lock_counter == 1:
            for path in (holder, Path(lock.lock_file)):  # whoever waits for a lock file that is gone makes a new one
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        lock.release()
        if not existed:
            with contextlib.suppress(OSError):
                directory.rmdir()


def _read_holder(directory: Path, name: str) -> str:
    try:
        return (directory / f"{name}.holder").read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"


def _write_error(directory: Path, key: str, problem: OSError) -> CannotWriteError:
    return CannotWriteError(f"{directory} cannot be written ({problem.strerror}): choose another {key}")
