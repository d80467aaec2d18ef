"""A service as a whole process, sent what is malformed: pictures, bodies, forms, what is no HTTP at all."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from typing import Any

import httpx
import pytest
from PIL import Image

from mnist_seq.data.datasets import SyntheticDataset
from tests.serving import malformed_uploads
from tests.serving.conftest import encoded, form
from tests.serving.service_process import Service

pytestmark = pytest.mark.slow


def test_malformed_uploads_are_read_or_refused_and_cost_no_memory(healthy: Service) -> None:
    def send(client: httpx.Client, name: str, data: bytes) -> None:
        answer = client.post("/read", files=form(data))
        outcomes[name] = answer.status_code
        assert answer.status_code in (200, 413, 415, 422), (name, answer.text)
        assert answer.status_code == 200 or isinstance(answer.json()["detail"], str), name

    outcomes: dict[str, int] = {}
    memory = []
    with httpx.Client(base_url=healthy.url, timeout=30) as client:
        for seed in range(6):
            for name, data in malformed_uploads.uploads(seed):
                send(client, name, data)
            memory.append(healthy.memory)
    assert len(outcomes) >= 500
    assert outcomes["a single pixel"] == outcomes["a wide line"] == outcomes["16 bits"] == outcomes["CMYK"] == 200
    assert outcomes["a bomb of 900 megapixels"] == outcomes["a bomb of 25 gigapixels"] == 413
    assert outcomes["a bomb just above what is read"] == outcomes["the largest WebP"] == 413
    assert outcomes["an animation"] == outcomes["an animated PNG"] == 422
    assert outcomes["text"] == outcomes["SVG"] == outcomes["a pickle"] == outcomes["GIF"] == 415
    assert memory[5] < memory[0] + 10, memory


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


def test_nothing_contradicts_the_openapi_document(service: Service, grids: SyntheticDataset) -> None:
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
