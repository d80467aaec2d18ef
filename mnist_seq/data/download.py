"""Data sets of torchvision, downloaded once: by their known hashes, one process at a time, whole or not at all."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mnist_seq.errors import DownloadError

log = logging.getLogger(__name__)

_TIMEOUT = 15
"""Seconds without a byte after which a server is given up."""
_STAGING, _LOCK, _FAILURE = ".download", ".download.lock", ".download.failed"


class Archive(NamedTuple):
    """A file as it is published."""

    name: str
    md5: str
    urls: list[str]
    """Of its mirrors."""


def archives(data_set: Any) -> list[Archive]:
    """What a class of torchvision is made from; it looks for these files by name and hash before it downloads any."""
    if hasattr(data_set, "url"):  # EMNIST
        listed = [(data_set.url, data_set.md5)]
    elif isinstance(data_set.resources, dict):  # QMNIST
        listed = [*data_set.resources["train"], *data_set.resources["test"]]
    else:
        return [
            Archive(name, md5, [f"{mirror}{name}" for mirror in data_set.mirrors]) for name, md5 in data_set.resources
        ]
    return [Archive(url.rpartition("/")[2], md5, [url]) for url, md5 in listed]


def is_downloaded(folder: Path) -> bool:
    """Whether there is something in a folder."""
    return folder.is_dir() and any(folder.iterdir())


def download(source: str, target: Path, files: list[Archive], unpack: Callable[[Path], None]) -> None:
    """Fill a folder, unless another process just did; of many that ask at once, one downloads and the others wait.

    Args:
        source: what the data set is called, for messages.
        target: ROOT/HOME/raw, as torchvision lays it out.
        unpack: given another ROOT, unpacks the archives that lie in its HOME/raw.

    Raises:
        DownloadError: no mirror gives a file whole, or it cannot be stored.
    """
    asked = time.time_ns()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive_lock(source, target.parent / _LOCK):
            if not is_downloaded(target):
                _raise_recent_failure(target.parent / _FAILURE, asked)
                _download_archives(source, target, files, unpack)
    except DownloadError:
        raise
    except OSError as problem:
        raise DownloadError(f"{source} cannot be stored in {target}: {problem} (set MNIST_SEQ_DATA)") from problem


def _download_archives(source: str, target: Path, files: list[Archive], unpack: Callable[[Path], None]) -> None:
    """Fetch into a folder beside and move in what is whole, so that a file is never half there."""
    log.info("downloading %s to %s", source, target)
    staging = target.parent / _STAGING
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    raw = staging / target.parent.name / target.name
    raw.mkdir(parents=True)
    try:
        for archive in files:
            if reasons := _download_file(archive, raw):
                reason = f"{source} is not in {target} and cannot be downloaded ({'; '.join(reasons)})"
                (target.parent / _FAILURE).write_text(reason, encoding="utf-8")
                raise DownloadError(reason)
        unpack(staging)
        raw.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download_file(archive: Archive, folder: Path) -> list[str]:
    """Get a file from the first mirror that has it; why not from each where none has."""
    import pooch

    reasons = []
    for url in archive.urls:
        try:
            with _progress_bar(archive.name) as bar, _quiet_logger(pooch.get_logger()):
                downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=_TIMEOUT)
                pooch.retrieve(url, f"md5:{archive.md5}", archive.name, str(folder), downloader=downloader)
        except (OSError, ValueError) as problem:  # what the network does; another hash than is known
            reasons.append(f"{url}: " + " ".join(str(problem).split())[:120])
        else:
            return []
    return reasons


def _raise_recent_failure(failure: Path, asked: int) -> None:
    """What a process failed of while this one waited for it is not waited for again."""
    if failure.is_file() and failure.stat().st_mtime_ns >= asked:
        raise DownloadError(failure.read_text(encoding="utf-8"))


@contextmanager
def _exclusive_lock(source: str, path: Path) -> Iterator[None]:
    """One process at a time; a lock is freed when its process ends, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.info("waiting for another process that downloads %s", source)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _quiet_logger(logger: logging.Logger) -> Iterator[None]:
    """Without what a library says of each file."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


class _PoochProgress:
    """A line of progress with the methods that pooch calls."""

    total = 0

    def __init__(self, advance: Callable[[int, int], None]) -> None:
        self._advance, self._done = advance, 0

    def update(self, done: int) -> None:
        self._done += done
        self._advance(min(self._done, self.total), self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """Whoever made the line ends it."""


@contextmanager
def _progress_bar(name: str) -> Iterator[_PoochProgress]:
    """A line of progress on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=None)
        yield _PoochProgress(lambda done, total: progress.update(task, completed=done, total=total or None))
