"""ONNX Runtime takes over from torch in a running service."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image

from mnist_seq.config import ServeConfig
from mnist_seq.errors import UserError
from mnist_seq.inference.reader import Reader, load
from mnist_seq.inference.reading import Reading
from mnist_seq.run_dir import Run
from mnist_seq.serving import engine
from mnist_seq.serving.background import ProcessDied, run_in_process
from tests.serving.conftest import encode_image, with_read_canvases
from tests.serving.service_process import Service


def fail(message: str) -> bytes:
    raise UserError(message)


def get_pid(_: str) -> bytes:
    return str(os.getpid()).encode()


def get_length(data: bytes) -> bytes:
    return str(len(data)).encode()


def die(_: str) -> bytes:
    os._exit(3)


def write_and_wait(path: str) -> bytes:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)
    return b""


def test_function_runs_in_a_process_of_its_own_and_its_errors_arrive() -> None:
    assert int(asyncio.run(run_in_process(get_pid, ""))) != os.getpid()
    with pytest.raises(UserError, match="no operator"):
        asyncio.run(run_in_process(fail, "no operator"))
    assert asyncio.run(run_in_process(get_length, bytes(10_000_000))) == b"10000000", "more than a pipe holds"
    with pytest.raises(ProcessDied, match="the process of die ended without a result"):
        asyncio.run(run_in_process(die, ""))


def test_cancelled_call_ends_its_process(tmp_path: Path) -> None:
    async def start_and_cancel() -> int:
        task = asyncio.create_task(run_in_process(write_and_wait, str(tmp_path / "pid")))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return int((tmp_path / "pid").read_text())

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(start_and_cancel()), 0)


def test_torch_goes_on_where_a_model_cannot_be_exported(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> bytes:
        raise UserError("Strange cannot be exported to ONNX")

    monkeypatch.setattr(engine, "run_in_process", refuse)
    pipeline: Any = SimpleNamespace(reader=reader)
    asyncio.run(engine.take_over(pipeline, ServeConfig(run="tiny")))
    assert pipeline.reader is reader


@pytest.mark.slow
def test_onnx_runtime_takes_over_and_reads_what_torch_read(tiny_run: Run, images: list[Image.Image]) -> None:
    files = [("files", (f"{index}.png", encode_image(image))) for index, image in enumerate(images)]
    with Service(tiny_run.path, "engine=auto") as service:

        def read() -> list[list[int]]:
            return [it["digits"] for it in httpx.post(f"{service.url}/read", files=files).json()["readings"]]

        assert httpx.get(f"{service.url}/healthz").json()["engine"] == "torch"
        before = read()
        deadline = time.monotonic() + 900
        while httpx.get(f"{service.url}/healthz").json()["engine"] == "torch":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert read() == before == [it.digits for it in load(tiny_run.path).read(images)]
        assert any("ONNX Runtime is now in use" in line.get("message", "") for line in service.log)
        assert service.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_service_that_is_stopped_during_the_export_ends_it(tiny_run: Run, signum: int) -> None:
    """Also by Ctrl-C, which a terminal sends to both processes."""
    with Service(tiny_run.path, "engine=auto") as service:
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        while len(pids := children.read_text().split()) < 2:  # the export, and the process that multiprocessing adds
            time.sleep(0.1)
        for pid in pids if signum == signal.SIGINT else ():
            os.kill(int(pid), signum)
        assert service.stop(signum) == 0
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        messages = [line.get("message", "") for line in service.log]
        assert "ONNX Runtime is now in use" not in messages
        assert not any("Traceback" in str(line) for line in service.log), service.log


def test_engine_that_reads_other_digits_does_not_take_over(reader: Reader) -> None:
    other = with_read_canvases(reader, lambda canvases: [Reading([1], 1.0, [1.0])] * len(canvases))
    engine._check_readings(reader, reader)
    with pytest.raises(UserError, match="ONNX Runtime predicts different digits"):
        engine._check_readings(other, reader)
