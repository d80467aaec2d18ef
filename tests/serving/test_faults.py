"""A service as a whole process, and everything that can go wrong around it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import mnist_seq
from mnist_seq.data.sets import Synthesised
from mnist_seq.run import Run
from tests.serving import malformed
from tests.serving.conftest import encoded, form

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


class Service:
    """`python -m mnist_seq.serve`, and what it said."""

    def __init__(self, run: Path | str, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "mnist_seq.serve", f"run={run}", "port=0", *arguments]
        variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self.process = subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._ready.wait(90)
        self.url = next(filter(None, (re.search(r"http://\S+:\d+", it.get("message", "")) for it in self.said)))[0]
        self.port = int(self.url.rpartition(":")[2])

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.said.append(json.loads(line) if line.startswith("{") else {"message": line})
            if "listening" in self.said[-1].get("message", ""):
                self._ready.set()
        self._ready.set()

    @property
    def memory(self) -> float:
        """Resident, MB."""
        told = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", told)[1]) / 1000  # type: ignore[index]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        code = self.process.wait(30)
        self._listener.join(5)
        return code

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def service(tiny_run: Run) -> Iterator[Service]:
    with Service(tiny_run.path) as started:
        yield started
        statuses = Counter(line["status"] for line in started.said if "status" in line)
        assert not [status for status in statuses if status >= 500], statuses
        assert not [line for line in started.said if "Traceback" in str(line)], started.said
        assert started.stop() == 0


@pytest.fixture
def healthy(service: Service, grids: Synthesised, tiny_run: Run) -> Iterator[Service]:
    """It still reads right afterwards."""
    yield service
    picture = Image.fromarray(grids[:1].images[0, 0].numpy())
    answer = httpx.post(f"{service.url}/read", files=form(encoded(picture)))
    assert answer.json()["readings"][0]["digits"] == mnist_seq.load(tiny_run.path).read(picture).digits


def test_malformed_uploads_are_read_or_refused_and_cost_no_memory(healthy: Service) -> None:
    def send(client: httpx.Client, name: str, data: bytes) -> None:
        answer = client.post("/read", files=form(data))
        outcomes[name] = answer.status_code
        assert answer.status_code in (200, 413, 415, 422), (name, answer.text)
        assert answer.status_code == 200 or isinstance(answer.json()["detail"], str), name

    outcomes: dict[str, int] = {}
    memory = []
    with httpx.Client(base_url=healthy.url, timeout=30) as client:
        for seed in range(3):
            for name, data in malformed.uploads(seed):
                send(client, name, data)
            memory.append(healthy.memory)
    assert len(outcomes) >= 500
    assert outcomes["a single pixel"] == outcomes["a wide line"] == outcomes["16 bits"] == outcomes["CMYK"] == 200
    assert outcomes["a bomb of 900 megapixels"] == outcomes["a bomb of 25 gigapixels"] == 413
    assert outcomes["a bomb just above what is read"] == outcomes["the largest WebP"] == 413
    assert outcomes["an animation"] == outcomes["an animated PNG"] == 422
    assert outcomes["text"] == outcomes["SVG"] == outcomes["a pickle"] == outcomes["GIF"] == 415
    assert memory[2] < memory[0] + 150, memory  # a picture of the largest takes 400 while it is decoded


def test_base64_and_json_of_any_kind_are_read_or_refused(healthy: Service) -> None:
    picture = base64.b64encode(encoded(Image.new("L", (9, 9)))).decode()
    bodies: list[Any] = [
        b"",
        b"null",
        b"7",
        b'"images"',
        b"[" * 100_000,
        b'{"images": ' + b"[" * 100_000,
        b'{"images": ["' + b"A" * 9_000_000 + b'"]}',
        b'{"images": ["\xff"]}',
        b'{"images": [' + b"7," * 1_000_000 + b"7]}",
        b'{"images": [' + b'"",' * 1_000_000 + b'""]}',
        json.dumps({"images": {"0": picture}}).encode(),
        json.dumps({"images": [[picture]]}).encode(),
        json.dumps({"images": [None]}).encode(),
        json.dumps({"images": [picture + "é"]}).encode(),
        json.dumps({"images": ["file:///etc/passwd"]}).encode(),
        json.dumps({"images": [picture] * 65}).encode(),
        json.dumps({"images": [picture], "trust": "os"}).encode(),
        json.dumps({"images": [""]}).encode(),
    ]
    for body in bodies:
        answer = httpx.post(
            f"{healthy.url}/read", content=body, headers={"content-type": "application/json"}, timeout=30
        )
        assert answer.status_code in (415, 422), (body[:40], answer.status_code, answer.text[:200])


def test_forms_of_any_kind_are_refused(healthy: Service) -> None:
    field = b'--b\r\nContent-Disposition: form-data; name="f-"\r\n\r\n'
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n7\r\n'
    for kind, body in [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b"),
        ("multipart/form-data; boundary=b", part),
        ("multipart/form-data; boundary=b", part * 200),
        ("multipart/form-data; boundary=b; charset=klingon", part + b"--b--\r\n"),
        ("multipart/form-data; boundary=b; charset=punycode", field + b"zz99" + b"a" * 900_000 + b"\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", field + b"a" * 900_000 + b"\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\n7\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\n7\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5000, part),
        ("application/x-www-form-urlencoded", b"files=7"),
        ("image/png", encoded(Image.new("L", (9, 9)))),
        ("\xff", b"x"),
    ]:
        answer = httpx.post(f"{healthy.url}/read", content=body, headers={b"content-type": kind.encode("latin-1")})
        assert answer.status_code in (415, 422), (kind, body[:60], answer.status_code, answer.text)


def test_what_is_no_http_is_turned_away(healthy: Service) -> None:
    for said in (
        b"\x16\x03\x01" + bytes(200),
        b"GET\r\n\r\n",
        b"POST /read HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
        b"\0" * 50,
    ):
        with socket.create_connection(("127.0.0.1", healthy.port), 5) as line:
            line.settimeout(5)
            line.sendall(said)
            with contextlib.suppress(ConnectionResetError):
                assert line.recv(100).startswith(b"HTTP/1.1 4")


@pytest.fixture(scope="module")
def hasty(tiny_run: Run) -> Iterator[Service]:
    with Service(tiny_run.path, "limits.seconds=1", "limits.requests=8") as started:
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


def test_a_request_that_is_refused_leaves_no_work_behind(tiny_run: Run, grids: Synthesised) -> None:
    heavy = dict(malformed.uploads())["as much as is read"]
    picture = encoded(Image.fromarray(grids[:1].images[0, 0].numpy()))
    with Service(tiny_run.path) as service:
        refused = httpx.post(f"{service.url}/read", files=form(b"no", *[heavy] * 60), timeout=30)
        assert refused.status_code == 415
        assert httpx.post(f"{service.url}/read", files=form(picture), timeout=30).status_code == 200
        assert service.stop() == 0


def test_many_that_are_slow_keep_no_one_else_from_being_read(hasty: Service, grids: Synthesised) -> None:
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


def test_who_leaves_is_forgotten(healthy: Service, grids: Synthesised) -> None:
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


def test_a_stopped_service_finishes_what_it_took(tiny_run: Run, grids: Synthesised) -> None:
    pictures = [Image.fromarray(image.numpy()) for image in grids[:60].images[:, 0]]
    expected = [reading.digits for reading in mnist_seq.load(tiny_run.path).read(pictures)]
    files = form(*map(encoded, pictures))
    with Service(tiny_run.path, "batch=1") as service, ThreadPoolExecutor(4) as clients:
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


def test_killed_under_load_it_starts_again_at_the_same_place(tiny_run: Run, grids: Synthesised) -> None:
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


def test_requests_beyond_the_queue_come_back_later_and_all_are_read(tiny_run: Run, grids: Synthesised) -> None:
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

    with Service(tiny_run.path, "limits.queue=2", "limits.files=1", "batch=1") as service:
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


def test_nothing_contradicts_the_openapi_document(service: Service, grids: Synthesised) -> None:
    """By schemathesis: any request that the document allows or forbids; pictures in it are pictures."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    pictures = [encoded(Image.fromarray(image.numpy())) for image in grids[:5].images[:, 0]]
    schemathesis.openapi.format("byte", st.sampled_from([base64.b64encode(it).decode() for it in pictures]))
    schemathesis.openapi.format("binary", st.sampled_from(pictures))
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    checked = 0
    for operation in schema.get_all_operations():

        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.ok().as_strategy())
        def check(case: Any) -> None:
            nonlocal checked
            case.call_and_validate()
            checked += 1

        check()
    assert checked >= 62
