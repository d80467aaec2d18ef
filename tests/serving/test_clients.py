"""The service process under slow, gone and too many clients, signals and kills."""

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
from tests.serving.conftest import encode_image, form
from tests.serving.service_process import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def short_timeout_service(tiny_run: Run) -> Iterator[Service]:
    with Service(tiny_run.path, "limits.timeout=1", "limits.concurrency=8") as service:
        yield service
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("sent", "expected_status"),
    [
        (b"", b""),
        (b"POST /re", b""),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nX-Slow: ", b""),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{", b"408"),
    ],
)
def test_slow_request_times_out(short_timeout_service: Service, sent: bytes, expected_status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", short_timeout_service.port), 5) as connection:
        connection.settimeout(10)
        connection.sendall(sent)
        received = b""
        while part := connection.recv(1000):
            received += part
    assert expected_status in received.partition(b"\r\n")[0]
    assert bool(received) == bool(expected_status)


def test_unread_body_is_cut_off(short_timeout_service: Service) -> None:
    with socket.create_connection(("127.0.0.1", short_timeout_service.port), 5) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        deadline = time.monotonic() + 15
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                assert time.monotonic() < deadline
                connection.sendall(b"x")
                time.sleep(0.2)


def test_client_that_never_reads_the_response_frees_its_slot(short_timeout_service: Service) -> None:
    connections = []
    for _ in range(8):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", short_timeout_service.port))
        connection.sendall(b"GET /static-offline-docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        connections.append(connection)
    deadline = time.monotonic() + 20
    time.sleep(1.5)
    while httpx.get(f"{short_timeout_service.url}/metrics").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for connection in connections:
        connection.close()


def test_rejected_request_leaves_no_work_behind(tiny_run: Run, grids: SyntheticDataset) -> None:
    heavy = dict(malformed_uploads.uploads())["as much as is read"]
    image = encode_image(Image.fromarray(grids[:1].images[0, 0].numpy()))
    with Service(tiny_run.path) as service:
        refused = httpx.post(f"{service.url}/read", files=form(b"no", *[heavy] * 60), timeout=30)
        assert refused.status_code == 415
        assert httpx.post(f"{service.url}/read", files=form(image), timeout=30).status_code == 200
        assert service.stop() == 0


def test_slow_clients_never_block_others(short_timeout_service: Service, grids: SyntheticDataset) -> None:
    incomplete = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    connections = [socket.create_connection(("127.0.0.1", short_timeout_service.port), 5) for _ in range(40)]
    for connection in connections[:7]:  # one less than limits.concurrency
        connection.sendall(incomplete)
    image = encode_image(Image.fromarray(grids[:1].images[0, 0].numpy()))
    assert httpx.post(f"{short_timeout_service.url}/read", files=form(image)).status_code == 200
    for connection in connections[7:]:
        connection.sendall(incomplete)
    time.sleep(0.2)
    busy = httpx.get(f"{short_timeout_service.url}/metrics")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
    assert httpx.get(f"{short_timeout_service.url}/healthz").status_code == 200
    time.sleep(1.5)
    assert httpx.post(f"{short_timeout_service.url}/read", files=form(image)).status_code == 200
    for connection in connections:
        connection.close()


def test_disconnected_clients_leave_nothing_in_flight(healthy_service: Service, grids: SyntheticDataset) -> None:
    image = encode_image(Image.fromarray(grids[:1].images[0, 0].numpy()))
    request = httpx.Request("POST", healthy_service.url + "/read", files=form(*[image] * 8))
    whole = b"POST /read HTTP/1.1\r\n" + b"".join(name + b": " + value + b"\r\n" for name, value in request.headers.raw)
    whole += b"\r\n" + request.read()
    for index in range(60):
        with socket.create_connection(("127.0.0.1", healthy_service.port), 5) as connection:
            connection.sendall(whole[: len(whole) * (index + 1) // 60])
    deadline = time.monotonic() + 15
    while "images_in_flight 0.0" not in httpx.get(f"{healthy_service.url}/metrics").text:
        assert time.monotonic() < deadline
    assert not [line for line in healthy_service.log if line.get("status") == 500]


def test_stopped_service_finishes_accepted_requests(tiny_run: Run, grids: SyntheticDataset) -> None:
    images = [Image.fromarray(image.numpy()) for image in grids[:60].images[:, 0]]
    expected = [reading.digits for reading in mnist_seq.load(tiny_run.path).read(images)]
    files = form(*map(encode_image, images))
    with Service(tiny_run.path, "max_batch_size=1") as service, ThreadPoolExecutor(4) as clients:
        requests = [clients.submit(httpx.post, f"{service.url}/read", files=files, timeout=30) for _ in range(4)]
        deadline = time.monotonic() + 15
        while "images_in_flight 0.0" in httpx.get(f"{service.url}/metrics").text:
            assert time.monotonic() < deadline
        assert service.stop() == 0
        for response in (each.result() for each in requests):
            assert [each["digits"] for each in response.json()["readings"]] == expected
        with pytest.raises(httpx.ConnectError):
            httpx.get(service.url)
    assert "stopped" in service.log[-1]["message"]


def test_killed_service_restarts_on_the_same_port(tiny_run: Run, grids: SyntheticDataset) -> None:
    image = encode_image(Image.fromarray(grids[:1].images[0, 0].numpy()))

    def ask() -> None:
        with httpx.Client() as client:
            while not killed.is_set():
                try:
                    client.post(f"{service.url}/read", files=form(image))
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
        assert httpx.post(f"{again.url}/read", files=form(image)).status_code == 200


def test_requests_beyond_the_queue_succeed_on_retry(tiny_run: Run, grids: SyntheticDataset) -> None:
    images = [encode_image(Image.fromarray(image.numpy())) for image in grids[:64].images[:, 0]]
    expected = [
        reading.digits for reading in mnist_seq.load(tiny_run.path).read([Image.open(io.BytesIO(it)) for it in images])
    ]

    def ask(index: int) -> tuple[int, list[int]]:
        refused = 0
        with httpx.Client(timeout=30) as client:
            while True:
                response = client.post(f"{service.url}/read", files=form(images[index]))
                if response.status_code == 200:
                    return refused, response.json()["readings"][0]["digits"]
                assert (response.status_code, response.headers["retry-after"]) == (429, "1")
                refused += 1
                time.sleep(0.05)

    with Service(tiny_run.path, "limits.queue_size=2", "limits.files=1", "max_batch_size=1") as service:
        with ThreadPoolExecutor(32) as clients:
            found = list(clients.map(ask, range(64)))
        assert [digits for _, digits in found] == expected
        assert sum(refused for refused, _ in found) > 0
        assert service.stop() == 0


def test_token_comes_from_the_environment_and_is_never_logged(tiny_run: Run) -> None:
    token = "a-secret-of-some-length"
    with Service(tiny_run.path, MNIST_SEQ_TOKEN=token) as service:
        assert httpx.get(f"{service.url}/metrics").status_code == 401
        given = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{service.url}/metrics", headers=given).status_code == 200
        assert service.stop() == 0
    assert token not in json.dumps(service.log)
