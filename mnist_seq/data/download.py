"""Download the archives of torchvision's datasets: verified by hash, by one process at a time, and atomically.

torchvision downloads by itself, but without a timeout, without a lock and straight into the final directory.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from mnist_seq.errors import DownloadError

log = logging.getLogger(__name__)

_TIMEOUT = 15
"""Seconds without a byte after which a server is given up."""
_STAGING, _LOCK, _FAILURE = ".download", ".download.lock", ".download.failed"


class Archive(NamedTuple):
    """A published file."""

    name: str
    md5: str
    urls: list[str]
    """One URL per mirror."""


def archives(dataset_class: Any) -> list[Archive]:
    """List the files of a torchvision dataset; it looks for them by name and hash before it downloads any."""
    if hasattr(dataset_class, "url"):  # EMNIST
        resources, mirrors = [(dataset_class.url, dataset_class.md5)], [""]
    elif isinstance(dataset_class.resources, dict):  # QMNIST
        resources, mirrors = [*dataset_class.resources["train"], *dataset_class.resources["test"]], [""]
    else:
        resources, mirrors = dataset_class.resources, dataset_class.mirrors
    return [Archive(name.rpartition("/")[2], md5, [f"{it}{name}" for it in mirrors]) for name, md5 in resources]


def is_downloaded(raw_dir: Path) -> bool:
    """Return whether a directory exists and is not empty."""
    return raw_dir.is_dir() and any(raw_dir.iterdir())


def download(source: str, raw_dir: Path, files: list[Archive], unpack: Callable[[Path], None]) -> None:
    """Download and unpack a dataset; of several processes that ask at once, one downloads and the others wait.

    Args:
        source: name of the dataset, for messages.
        raw_dir: ROOT/CLASS/raw in torchvision's layout.
        files: what to download.
        unpack: unpacks the archives in CLASS/raw of the root that it is given.

    Raises:
        DownloadError: no mirror serves a file with the right hash, or the files cannot be written.
    """
    start_ns, failure = time.time_ns(), raw_dir.parent / _FAILURE
    try:
        raw_dir.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive_lock(source, raw_dir.parent / _LOCK):
            if is_downloaded(raw_dir):
                return
            # fail like the process that this one waited for, rather than wait for the same servers again
            if failure.is_file() and failure.stat().st_mtime_ns >= start_ns:
                raise DownloadError(failure.read_text(encoding="utf-8"))
            _download_archives(source, raw_dir, files, unpack)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{source} cannot be written to {raw_dir}: {error} (set MNIST_SEQ_DATA)") from error


def _download_archives(source: str, raw_dir: Path, files: list[Archive], unpack: Callable[[Path], None]) -> None:
    """Download into a staging directory, and rename it once everything is unpacked."""
    log.info("downloading %s to %s", source, raw_dir)
    staging = raw_dir.parent / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # left by a killed process
    staging_raw_dir = staging / raw_dir.parent.name / raw_dir.name
    staging_raw_dir.mkdir(parents=True)
    try:
        for archive in files:
            if reasons := _try_mirrors(archive, staging_raw_dir):
                message = f"{source} was not found in {raw_dir} and could not be downloaded ({'; '.join(reasons)})"
                (raw_dir.parent / _FAILURE).write_text(message, encoding="utf-8")
                raise DownloadError(message)
        unpack(staging)
        staging_raw_dir.replace(raw_dir)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _try_mirrors(archive: Archive, directory: Path) -> list[str]:
    """Download a file from the first mirror that has it; return the reason for each failure, none on success."""
    reasons = []
    for url in archive.urls:
        try:
            _download_file(url, archive.md5, directory / archive.name)
            return []
        except (OSError, HTTPException, ValueError) as error:
            reasons.append(f"{url}: " + " ".join(str(error).split())[:120])
    return reasons


def _download_file(url: str, md5: str, path: Path) -> None:
    """Download a file, with a progress bar on a terminal.

    Raises:
        OSError, HTTPException: the server does not answer, or not in time.
        ValueError: the file has another hash.
    """
    from rich.console import Console
    from rich.progress import wrap_file

    console = Console(stderr=True)
    with urlopen(url, timeout=_TIMEOUT) as response, path.open("wb") as file:
        size = int(response.headers.get("Content-Length", 0))
        hidden = not console.is_terminal
        with wrap_file(response, size, description=path.name, console=console, disable=hidden) as source:
            shutil.copyfileobj(source, file)
    with path.open("rb") as written:
        actual = hashlib.file_digest(written, "md5").hexdigest()
    if actual != md5:
        raise ValueError(f"wrong hash: md5 {actual}, expected {md5}")


def _exclusive_lock(source: str, path: Path) -> AbstractContextManager[object]:
    """Let one process in at a time; the lock is released when its process ends, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        return lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another process to finish downloading %s", source)
        return lock.acquire()
