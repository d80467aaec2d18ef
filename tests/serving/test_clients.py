"""A service as a whole process, and its clients: slow, gone, too many, without a token; it stops, and is killed."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

import mnist_seq
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.run_dir import Run
from tests.serving import malformed_uploads
from tests.serving.conftest import encoded, form
from tests.serving.service_process import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hasty(tiny_run: Run) -> Iterator[Service]:
    with Service(tiny_run.path, "limits.timeout=1", "limits.concurrency=8") as started:
        yield started
        assert started.stop() == 0


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"POST /re", b""),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nX-Slow: ", b""),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{", b"408"),
    ],
)
def test_who_is_slow_is_not_waited_for(hasty: Service, sent: bytes, answered: bytes) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), 5) as line:
        line.settimeout(10)
        line.sendall(sent)
        told = b""
        while part := line.recv(1000):
            told += part
    assert answered in told.partition(b"\r\n")[0]
    assert bool(told) == bool(answered)


def test_who_goes_on_sending_what_nobody_reads_is_cut_off(hasty: Service) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), 5) as line:
        line.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        deadline = time.monotonic() + 15
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                assert time.monotonic() < deadline
                line.sendall(b"x")
                time.sleep(0.2)


def test_who_does_not_take_the_answer_holds_no_place(hasty: Service) -> None:
    lines = []
    for _ in range(8):
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect(("127.0.0.1", hasty.port))
        line.sendall(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        lines.append(line)
    deadline = time.monotonic() + 20
    time.sleep(1.5)
    while httpx.get(f"{hasty.url}/metrics").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for line in lines:
        line.close()


def test_a_request_that_is_refused_leaves_no_work_behind(tiny_run: Run, grids: SyntheticDataset) -> None:
    heavy = dict(malformed_uploads.uploads())["as much as is read"]
    picture = encoded(Image.fromarray(grids[:1].images[0, 0].numpy()))
    with Service(tiny_run.path) as service:
        refused = httpx.post(f"{service.url}/read", files=form(b"no", *[heavy] * 60), timeout=30)
        assert refused.status_code == 415
        assert httpx.post(f"{service.url}/read", files=form(picture), timeout=30).status_code == 200
        assert service.stop() == 0


def test_many_that_are_slow_keep_no_one_else_from_being_read(hasty: Service, grids: SyntheticDataset) -> None:
    began = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    lines = [socket.create_connection(("127.0.0.1", hasty.port), 5) for _ in range(40)]
    for line in lines[:7]:  # as many as may be answered at once, but one
        line.sendall(began)
    picture = encoded(Image.fromarray(grids[:1].images[0, 0].numpy()))
    assert httpx.post(f"{hasty.url}/read", files=form(picture)).status_code == 200
    for line in lines[7:]:
        line.sendall(began)
    time.sleep(0.2)
    busy = httpx.get(f"{hasty.url}/metrics")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
    assert httpx.get(f"{hasty.url}/healthz").status_code == 200
    time.sleep(1.5)
    assert httpx.post(f"{hasty.url}/read", files=form(picture)).status_code == 200
    for line in lines:
        line.close()


def test_who_leaves_is_forgotten(healthy: Service, grids: SyntheticDataset) -> None:
    picture = encoded(Image.fromarray(grids[:1].images[0, 0].numpy()))
    request = httpx.Request("POST", healthy.url + "/read", files=form(*[picture] * 8))
    whole = b"POST /read HTTP/1.1\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in request.headers.raw)
    whole += b"\r\n" + request.read()
    for place in range(60):
        with socket.create_connection(("127.0.0.1", healthy.port), 5) as line:
            line.sendall(whole[: len(whole) * (place + 1) // 60])
    deadline = time.monotonic() + 15
    while "pictures_in_hand 0.0" not in httpx.get(f"{healthy.url}/metrics").text:
        assert time.monotonic() < deadline
    assert not [line for line in healthy.said if line.get("status") == 500]


def test_a_stopped_service_finishes_what_it_took(tiny_run: Run, grids: SyntheticDataset) -> None:
    pictures = [Image.fromarray(image.numpy()) for image in grids[:60].images[:, 0]]
    expected = [reading.digits for reading in mnist_seq.load(tiny_run.path).read(pictures)]
    files = form(*map(encoded, pictures))
    with Service(tiny_run.path, "max_batch_size=1") as service, ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(httpx.post, f"{service.url}/read", files=files, timeout=30) for _ in range(4)]
        deadline = time.monotonic() + 15
        while "pictures_in_hand 0.0" in httpx.get(f"{service.url}/metrics").text:
            assert time.monotonic() < deadline
        assert service.stop() == 0
        for answer in (each.result() for each in asked):
            assert [each["digits"] for each in answer.json()["readings"]] == expected
        with pytest.raises(httpx.ConnectError):
            httpx.get(service.url)
    assert "stopped" in service.said[-1]["message"]


def test_killed_under_load_it_starts_again_at_the_same_place(tiny_run: Run, grids: SyntheticDataset) -> None:
    picture = encoded(Image.fromarray(grids[:1].images[0, 0].numpy()))

    def ask() -> None:
        with httpx.Client() as client:
            while not killed.is_set():
                try:
                    client.post(f"{service.url}/read", files=form(picture))
                except httpx.TransportError:
                    return

    killed = threading.Event()
    with Service(tiny_run.path) as service, ThreadPoolExecutor(8) as clients:
        for _ in range(8):
            clients.submit(ask)
        time.sleep(1)
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        killed.set()
    with Service(tiny_run.path, f"port={service.port}") as again:
        assert httpx.post(f"{again.url}/read", files=form(picture)).status_code == 200


def test_requests_beyond_the_queue_come_back_later_and_all_are_read(tiny_run: Run, grids: SyntheticDataset) -> None:
    pictures = [encoded(Image.fromarray(image.numpy())) for image in grids[:64].images[:, 0]]
    expected = [
        reading.digits
        for reading in mnist_seq.load(tiny_run.path).read([Image.open(io.BytesIO(it)) for it in pictures])
    ]

    def ask(place: int) -> tuple[int, list[int]]:
        refused = 0
        with httpx.Client(timeout=30) as client:
            while True:
                answer = client.post(f"{service.url}/read", files=form(pictures[place]))
                if answer.status_code == 200:
                    return refused, answer.json()["readings"][0]["digits"]
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
                refused += 1
                time.sleep(0.05)

    with Service(tiny_run.path, "limits.queue_size=2", "limits.files=1", "max_batch_size=1") as service:
        with ThreadPoolExecutor(32) as clients:
            found = list(clients.map(ask, range(64)))
        assert [digits for _, digits in found] == expected
        assert sum(refused for refused, _ in found) > 0
        assert service.stop() == 0


def test_the_token_comes_from_the_environment_and_never_shows(tiny_run: Run) -> None:
    token = "a-secret-of-some-length"
    with Service(tiny_run.path, MNIST_SEQ_TOKEN=token) as service:
        assert httpx.get(f"{service.url}/metrics").status_code == 401
        given = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{service.url}/metrics", headers=given).status_code == 200
        assert service.stop() == 0
    assert token not in json.dumps(service.said)
