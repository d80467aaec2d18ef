"""A dataset is downloaded once, whole or not at all, whatever the server does and however many ask."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision.datasets

from mnist_seq.data import download, sources
from mnist_seq.errors import DownloadError
from tests.conftest import write_mnist

FILES = [name for name, _ in torchvision.datasets.MNIST.resources]


class Mirror(ThreadingHTTPServer):
    """Serves files in MNIST's format, well or badly."""

    daemon_threads = True
    behaviour = "complete"
    """complete, slow (never silent for long), stalled, corrupt or missing."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.stopped = files, list[str](), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    @property
    def resources(self) -> list[tuple[str, str]]:
        return [(name, hashlib.md5(data).hexdigest()) for name, data in self.files.items()]


class Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name, behaviour = self.path.strip("/"), self.server.behaviour
        self.server.requests.append(name)
        if behaviour == "missing":
            self.send_error(404)
            return
        data = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if behaviour == "corrupt":
            data = data[:-1] + b"?"
        if behaviour in ("slow", "stalled"):
            for index in range(4):
                self.wfile.write(data[index : index + 1])
                self.wfile.flush()
                self.server.stopped.wait(60 if behaviour == "stalled" else 0.1)
            data = data[4:]
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def mirror(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """The only mirror of MNIST, which serves generated files in place of the published ones."""
    raw = write_mnist(tmp_path / "published")
    with Mirror({name: gzip.compress((raw / name.removesuffix(".gz")).read_bytes(), 1) for name in FILES}) as server:
        monkeypatch.setattr(sources, "_MNIST_SHA256", {})
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url])
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", server.resources)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


def cached_files(home: Path) -> set[str]:
    """Files in the cache other than locks."""
    return {path.name for path in home.rglob("*") if path.is_file() and not path.name.startswith(".download.")}


def test_concurrent_threads_download_once(home: Path, mirror: Mirror) -> None:
    with ThreadPoolExecutor(4) as jobs:
        pools = [job.result().pools["train"] for job in [jobs.submit(sources.load, "mnist") for _ in range(4)]]
    assert [len(pool) for pool in pools] == [50] * 4
    assert sorted(mirror.requests) == sorted(FILES)


@pytest.mark.slow
def test_concurrent_processes_download_once(home: Path, mirror: Mirror) -> None:
    mirror.behaviour = "slow"
    code = f"""
import torchvision.datasets
from mnist_seq.data import sources
sources._MNIST_SHA256 = {{}}
torchvision.datasets.MNIST.mirrors, torchvision.datasets.MNIST.resources = {[mirror.url]}, {mirror.resources}
print(len(sources.load("mnist").pools["train"]))
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=300)[0].strip() for process in processes] == ["50"] * 2
    assert sorted(mirror.requests) == sorted(FILES)


def test_download_leaves_no_default_timeout_behind(mirror: Mirror) -> None:
    socket.setdefaulttimeout(None)
    sources.load("mnist")
    assert socket.getdefaulttimeout() is None


def test_file_with_a_wrong_hash_raises_and_is_never_kept(home: Path, mirror: Mirror) -> None:
    mirror.behaviour = "corrupt"
    with pytest.raises(
        DownloadError, match=r"mnist was not found in .* could not be downloaded \(http://127.0.0.1.*hash"
    ):
        sources.load("mnist")
    assert not cached_files(home)


def test_next_mirror_is_tried_if_one_fails(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [closed, mirror.url])
    assert len(sources.load("mnist").pools["train"]) == 50


def test_stalled_server_times_out_but_a_slow_one_does_not(
    home: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    mirror.behaviour = "stalled"
    with pytest.raises(DownloadError, match=r"timed out"):
        sources.load("mnist")
    assert not cached_files(home)
    mirror.behaviour = "slow"
    assert len(sources.load("mnist").pools["train"]) == 50


def test_auto_source_falls_back_to_uci_with_a_warning(
    home: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.behaviour = "missing"
    with caplog.at_level(logging.WARNING):
        assert sources.load("auto").name == "uci"
    assert "404" in caplog.text
    with pytest.raises(DownloadError, match="404") as error:
        sources.load("mnist")
    assert "\n" not in str(error.value)
    assert not cached_files(home)


def test_waiting_process_does_not_repeat_a_failed_download(
    home: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
    mirror.behaviour = "stalled"

    def failure() -> str:
        with pytest.raises(DownloadError) as error:
            sources.load("mnist")
        return str(error.value)

    with ThreadPoolExecutor(3) as jobs:
        assert len({job.result() for job in [jobs.submit(failure) for _ in range(3)]}) == 1
    assert len(mirror.requests) == 1
    mirror.behaviour = "complete"
    assert len(sources.load("mnist").pools["train"]) == 50, "a later call tries again"


def test_leftovers_of_a_killed_process_are_removed(home: Path, mirror: Mirror) -> None:
    partial = home / "MNIST" / ".download" / "MNIST" / "raw" / FILES[0]
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"partial")
    (home / "MNIST" / ".download.lock").touch()
    sources.load("mnist")
    assert not partial.exists()


def test_unwritable_cache_is_named(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"mnist cannot be written to .*set MNIST_SEQ_DATA"):
        sources.load("mnist")


@pytest.mark.parametrize("source", sources.TORCHVISION_DATASETS)
def test_archives_of_every_source_have_name_hash_and_url(source: str) -> None:
    name, _ = sources.TORCHVISION_DATASETS[source]
    files = download.archives(getattr(torchvision.datasets, name))
    assert files
    for file in files:
        assert file.name.endswith((".gz", ".zip"))
        assert len(file.md5) == 32
        assert file.urls
        assert all(url.startswith("http") and url.endswith(file.name) for url in file.urls)


def test_single_archive_dataset_is_downloaded_and_unpacked(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in FILES:
            split = name.replace("train-", "emnist-digits-train-").replace("t10k-", "emnist-digits-test-")
            archive.writestr(f"gzip/{split}", mirror.files[name])
    mirror.files["gzip.zip"] = buffer.getvalue()
    monkeypatch.setattr(torchvision.datasets.EMNIST, "url", f"{mirror.url}gzip.zip")
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", hashlib.md5(buffer.getvalue()).hexdigest())
    assert len(sources.load("emnist").pools["train"]) == 50
    assert mirror.requests == ["gzip.zip"]


def test_progress_is_shown_on_a_terminal_only(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    sources.load("mnist")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path / "other"))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal
    sources.load("mnist")
    out, err = capfd.readouterr()
    assert not out
    assert all(name in err for name in FILES)


def test_download_waits_for_another_process(home: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    from filelock import FileLock

    (home / "MNIST").mkdir(parents=True)
    lock = FileLock(home / "MNIST" / ".download.lock")
    with ThreadPoolExecutor(1) as jobs, caplog.at_level(logging.INFO):
        with lock:
            job = jobs.submit(sources.load, "mnist")
            while "waiting for another process" not in caplog.text:
                time.sleep(0.01)
            assert not mirror.requests
        assert len(job.result().pools["train"]) == 50
