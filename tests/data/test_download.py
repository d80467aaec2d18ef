"""A data set is downloaded once, whole or not at all, whoever asks and whatever the server does."""

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

from mnist_seq.data import digits, download
from mnist_seq.errors import DownloadError
from tests.conftest import write_mnist

FILES = [name for name, _ in torchvision.datasets.MNIST.resources]


class Mirror(ThreadingHTTPServer):
    """Serves files in MNIST's format, in a way of its own."""

    daemon_threads = True
    way = "whole"
    """whole, slow (never silent for long), stalled, wrong or absent."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.asked, self.stopped = files, list[str](), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    @property
    def resources(self) -> list[tuple[str, str]]:
        return [(name, hashlib.md5(data).hexdigest()) for name, data in self.files.items()]


class Answer(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        name, way = self.path.strip("/"), self.server.way
        self.server.asked.append(name)
        if way == "absent":
            self.send_error(404)
            return
        data = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if way == "wrong":
            data = data[:-1] + b"?"
        if way in ("slow", "stalled"):
            for place in range(4):
                self.wfile.write(data[place : place + 1])
                self.wfile.flush()
                self.server.stopped.wait(60 if way == "stalled" else 0.1)
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
    """The only mirror of MNIST, with files of ours in place of the published ones."""
    raw = write_mnist(tmp_path / "published")
    with Mirror({name: gzip.compress((raw / name.removesuffix(".gz")).read_bytes(), 1) for name in FILES}) as server:
        monkeypatch.setattr(digits, "_SHA256", {})
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url])
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", server.resources)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


def left(home: Path) -> set[str]:
    """Files in the cache, apart from those that order who may fill it."""
    return {path.name for path in home.rglob("*") if path.is_file() and not path.name.startswith(".download.")}


def test_jobs_that_start_at_once_download_once(home: Path, mirror: Mirror) -> None:
    with ThreadPoolExecutor(4) as jobs:
        pools = [job.result().pools["train"] for job in [jobs.submit(digits.load, "mnist") for _ in range(4)]]
    assert [len(pool) for pool in pools] == [50] * 4
    assert sorted(mirror.asked) == sorted(FILES)


@pytest.mark.slow
def test_processes_that_start_at_once_download_once(home: Path, mirror: Mirror) -> None:
    mirror.way = "slow"
    code = f"""
import torchvision.datasets
from mnist_seq.data import digits
digits._SHA256 = {{}}
torchvision.datasets.MNIST.mirrors, torchvision.datasets.MNIST.resources = {[mirror.url]}, {mirror.resources}
print(len(digits.load("mnist").pools["train"]))
"""
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [job.communicate(timeout=300)[0].strip() for job in started] == ["50"] * 2
    assert sorted(mirror.asked) == sorted(FILES)


def test_a_download_leaves_no_timeout_and_no_log_level_behind(mirror: Mirror) -> None:
    import pooch

    before = pooch.get_logger().level
    socket.setdefaulttimeout(None)
    digits.load("mnist")
    assert socket.getdefaulttimeout() is None
    assert pooch.get_logger().level == before


def test_a_file_with_another_hash_is_refused_and_never_kept(home: Path, mirror: Mirror) -> None:
    mirror.way = "wrong"
    with pytest.raises(DownloadError, match=r"mnist is not in .* cannot be downloaded \(http://127.0.0.1.*hash"):
        digits.load("mnist")
    assert not left(home)


def test_another_mirror_is_asked_where_one_fails(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [closed, mirror.url])
    assert len(digits.load("mnist").pools["train"]) == 50


def test_a_server_that_stalls_is_given_up_and_a_slow_one_waited_for(
    home: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.2)
    mirror.way = "stalled"
    with pytest.raises(DownloadError, match=r"timed out"):
        digits.load("mnist")
    assert not left(home)
    mirror.way = "slow"
    assert len(digits.load("mnist").pools["train"]) == 50


def test_auto_falls_back_on_real_digits_and_says_so(
    home: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.way = "absent"
    with caplog.at_level(logging.WARNING):
        assert digits.load("auto").name == "uci"
    assert "404" in caplog.text
    with pytest.raises(DownloadError, match="404") as refused:
        digits.load("mnist")
    assert "\n" not in str(refused.value)
    assert not left(home)


def test_who_waited_for_a_download_that_failed_does_not_try_again(
    home: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
    mirror.way = "stalled"

    def refused() -> str:
        with pytest.raises(DownloadError) as problem:
            digits.load("mnist")
        return str(problem.value)

    with ThreadPoolExecutor(3) as jobs:
        assert len({job.result() for job in [jobs.submit(refused) for _ in range(3)]}) == 1
    assert len(mirror.asked) == 1
    mirror.way = "whole"
    assert len(digits.load("mnist").pools["train"]) == 50, "asked later, it is tried anew"


def test_what_a_killed_process_left_is_cleared_away(home: Path, mirror: Mirror) -> None:
    half = home / "MNIST" / ".download" / "MNIST" / "raw" / FILES[0]
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    (home / "MNIST" / ".download.lock").touch()
    digits.load("mnist")
    assert not half.exists()


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"mnist cannot be stored in .*set MNIST_SEQ_DATA"):
        digits.load("mnist")


@pytest.mark.parametrize("source", digits.TORCHVISION_DATASETS)
def test_the_files_of_every_data_set_are_known_by_name_hash_and_address(source: str) -> None:
    name, _ = digits.TORCHVISION_DATASETS[source]
    files = download.archives(getattr(torchvision.datasets, name))
    assert files
    for file in files:
        assert file.name.endswith((".gz", ".zip"))
        assert len(file.md5) == 32
        assert file.urls
        assert all(url.startswith("http") and url.endswith(file.name) for url in file.urls)


def test_a_data_set_in_one_archive_is_downloaded_and_unpacked_too(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name in FILES:
            split = name.replace("train-", "emnist-digits-train-").replace("t10k-", "emnist-digits-test-")
            archive.writestr(f"gzip/{split}", mirror.files[name])
    mirror.files["gzip.zip"] = zipped.getvalue()
    monkeypatch.setattr(torchvision.datasets.EMNIST, "url", f"{mirror.url}gzip.zip")
    monkeypatch.setattr(torchvision.datasets.EMNIST, "md5", hashlib.md5(zipped.getvalue()).hexdigest())
    assert len(digits.load("emnist").pools["train"]) == 50
    assert mirror.asked == ["gzip.zip"]


def test_progress_is_shown_on_a_terminal_alone(mirror: Mirror, capfd: pytest.CaptureFixture[str]) -> None:
    digits.load("mnist")
    assert capfd.readouterr() == ("", "")
    with download._progress_bar("digits.gz") as bar:
        bar.total = 10
        for _ in range(2):
            bar.update(8)
        bar.reset()
        bar.update(10)
        bar.close()


def test_a_download_waits_for_another_process(home: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    from filelock import FileLock

    (home / "MNIST").mkdir(parents=True)
    lock = FileLock(home / "MNIST" / ".download.lock")
    with ThreadPoolExecutor(1) as jobs, caplog.at_level(logging.INFO):
        with lock:
            job = jobs.submit(digits.load, "mnist")
            while "waiting for another process" not in caplog.text:
                time.sleep(0.01)
            assert not mirror.asked
        assert len(job.result().pools["train"]) == 50
