"""A lock on a run directory: one process trains in it at a time. It ends with its process, however that ends."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from mnist_seq.errors import CannotWriteError, UserError

_POLL_SECONDS = 1.0
LOCK_FILE = ".lock"
"""Name of the lock file in a directory; `.lock.holder` beside it names the process that holds it."""


@contextmanager
def lock_run_dir(run_dir: Path, key: str, lock_file: str = LOCK_FILE) -> Iterator[None]:
    """Lock a directory, which is created, for this process; the same thread may lock it again.

    Readers need no lock, since files are replaced atomically.

    Args:
        key: the override by which another directory is chosen.

    Raises:
        UserError: another process, or another thread of this one, holds it.
        CannotWriteError: the directory cannot be written.
    """
    with _try_lock(run_dir, key, lock_file) as locked:
        if not locked:
            holder = _read_holder(run_dir, lock_file)
            raise UserError(f"{run_dir} is in use by {holder}: wait for it, stop it, or choose another {key}")
        yield


@contextmanager
def wait_for_run_dir(run_dir: Path, key: str) -> Iterator[None]:
    """Lock a directory as `lock_run_dir` does, once no other process holds it.

    Raises:
        CannotWriteError: the directory cannot be written.
    """
    while True:
        with _try_lock(run_dir, key, LOCK_FILE) as locked:
            if locked:
                yield
                return
        time.sleep(_POLL_SECONDS)


@contextmanager
def lock_new_run_dir(run_dir: Path, key: str, lock_file: str = LOCK_FILE) -> Iterator[Path]:
    """Lock a directory without a run: the named one, or that name with -2, -3, ... appended.

    Two processes with the same name at the same time get two directories.
    """
    for number in count(1):
        path = run_dir if number == 1 else run_dir.with_name(f"{run_dir.name}-{number}")
        with _try_lock(path, key, lock_file) as locked:
            if locked and all(entry.name.startswith(LOCK_FILE) for entry in path.iterdir()):
                yield path
                return


@contextmanager
def _try_lock(directory: Path, key: str, name: str) -> Iterator[bool]:
    """Create and lock a directory, unless another process or thread holds it; yield whether it is locked.

    At exit the lock is released, and the directory removed if it was created for the lock and is still empty.
    """
    existed = directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # filelock uses flock, which works across nodes on NFS and Lustre; on file systems without flock it falls back
        # to a marker file that names its process, and takes it over once that process is gone.
        lock = FileLock(directory.resolve() / name, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise CannotWriteError(f"{directory} cannot be written ({error.strerror}): choose another {key}") from error
    holder = directory.resolve() / f"{name}.holder"
    try:
        if lock.lock_counter == 1:
            with contextlib.suppress(OSError):  # a full disk; the lock holds without it
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield True
    finally:
        if lock.lock_counter == 1:
            for path in (holder, Path(lock.lock_file)):  # a process that waits for it creates a new one
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
