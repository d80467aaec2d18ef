"""Atomic writes: a file is replaced as a whole or not at all. Write errors become one-line errors."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mnist_seq.errors import CannotWriteError

_WRITE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Convert a full disk or missing permissions to a CannotWriteError; other errors pass.

    Raises:
        CannotWriteError: `path` cannot be written.
    """
    try:
        yield
    except CannotWriteError:
        raise
    except OSError as error:
        if error.errno not in _WRITE_ERRNOS:
            raise
        raise CannotWriteError(
            f"{path} cannot be written ({error.strerror}): free space in {path.parent}, or choose another directory"
        ) from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `path` at the end.

    Raises:
        CannotWriteError: no permission, or no space left; the old file is unchanged.
    """
    temp_path = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")  # hosts may share a folder
    try:
        with write_errors(path):
            yield temp_path
            with temp_path.open("rb+") as file:  # Windows flushes only files that are open for writing
                os.fsync(file.fileno())
            temp_path.replace(path)
    finally:
        with suppress(OSError):  # a read-only file system; the reason is raised already
            temp_path.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write a text atomically, in UTF-8; undecodable bytes of file names are escaped."""
    with atomic_path(path) as temp_path:
        temp_path.write_text(text, encoding="utf-8", errors="backslashreplace")


def make_dir(key: str, path: Path) -> None:
    """Create an output folder.

    Args:
        key: the config key that names it, for the error message.

    Raises:
        CannotWriteError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWriteError(
            f"{key}={path} cannot be created as a folder ({error.strerror}): choose another"
        ) from error
