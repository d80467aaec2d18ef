"""Files that are written whole or not at all, and folders for them; what cannot be written is told in a line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnist_seq.errors import CannotWriteError

_WRITE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """A full disk, or a file that may not be written, is the user's to mend; any other error keeps its traceback.

    Raises:
        CannotWriteError: `path` cannot be written.
    """
    try:
        yield
    except CannotWriteError:
        raise
    except OSError as problem:
        if problem.errno not in _WRITE_ERRNOS:
            raise
        raise CannotWriteError(
            f"{path} cannot be written ({problem.strerror}): make room in {path.parent}, or choose another directory"
        ) from problem


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A file that is there whole or not at all: write to the path given, and it takes its place at the end.

    Raises:
        CannotWriteError: no permission, or no space left; what was there before is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with write_errors(path):
            yield beside
            with beside.open("rb+") as written:  # Windows flushes only what is open for writing
                os.fsync(written.fileno())
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """A text as a file that is there whole or not at all, in UTF-8; what that lacks of names of files is escaped."""
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def make_dir(key: str, path: Path) -> None:
    """Make a folder before any work is done for it.

    Raises:
        CannotWriteError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise CannotWriteError(
            f"{key}={path} cannot be made a folder ({problem.strerror}): choose another"
        ) from problem
