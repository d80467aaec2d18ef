"""The service process under malformed images, JSON, forms and HTTP."""

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
from tests.serving.conftest import encode_image, form
from tests.serving.service_process import Service

pytestmark = pytest.mark.slow


def test_malformed_uploads_are_read_or_rejected_without_leaking_memory(healthy_service: Service) -> None:
    def send(client: httpx.Client, name: str, data: bytes) -> None:
        response = client.post("/read", files=form(data))
        outcomes[name] = response.status_code
        assert response.status_code in (200, 413, 415, 422), (name, response.text)
        assert response.status_code == 200 or isinstance(response.json()["detail"], str), name

    outcomes: dict[str, int] = {}
    memory = []
    with httpx.Client(base_url=healthy_service.url, timeout=30) as client:
        for seed in range(6):
            for name, data in malformed_uploads.uploads(seed):
                send(client, name, data)
            memory.append(healthy_service.memory)
    assert len(outcomes) >= 500
    assert outcomes["a single pixel"] == outcomes["a wide line"] == outcomes["16 bits"] == outcomes["CMYK"] == 200
    assert outcomes["a bomb of 900 megapixels"] == outcomes["a bomb of 25 gigapixels"] == 413
    assert outcomes["a bomb just above what is read"] == outcomes["the largest WebP"] == 413
    assert outcomes["an animation"] == outcomes["an animated PNG"] == 422
    assert outcomes["text"] == outcomes["SVG"] == outcomes["a pickle"] == outcomes["GIF"] == 415
    assert memory[5] < memory[0] + 10, memory


def test_malformed_json_and_base64_are_rejected(healthy_service: Service) -> None:
    image = base64.b64encode(encode_image(Image.new("L", (9, 9)))).decode()
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
        json.dumps({"images": {"0": image}}).encode(),
        json.dumps({"images": [[image]]}).encode(),
        json.dumps({"images": [None]}).encode(),
        json.dumps({"images": [image + "é"]}).encode(),
        json.dumps({"images": ["file:///etc/passwd"]}).encode(),
        json.dumps({"images": [image] * 65}).encode(),
        json.dumps({"images": [image], "trust": "os"}).encode(),
        json.dumps({"images": [""]}).encode(),
    ]
    for body in bodies:
        response = httpx.post(
            f"{healthy_service.url}/read", content=body, headers={"content-type": "application/json"}, timeout=30
        )
        assert response.status_code in (415, 422), (body[:40], response.status_code, response.text[:200])


def test_malformed_forms_are_rejected(healthy_service: Service) -> None:
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
        ("image/png", encode_image(Image.new("L", (9, 9)))),
        ("\xff", b"x"),
    ]:
        response = httpx.post(
            f"{healthy_service.url}/read", content=body, headers={b"content-type": kind.encode("latin-1")}
        )
        assert response.status_code in (415, 422), (kind, body[:60], response.status_code, response.text)


def test_malformed_http_is_rejected(healthy_service: Service) -> None:
    for data in (
        b"\x16\x03\x01" + bytes(200),
        b"GET\r\n\r\n",
        b"POST /read HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
        b"\0" * 50,
    ):
        with socket.create_connection(("127.0.0.1", healthy_service.port), 5) as connection:
            connection.settimeout(5)
            connection.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100).startswith(b"HTTP/1.1 4")


def test_responses_conform_to_the_openapi_schema(service: Service, grids: SyntheticDataset) -> None:
    """By schemathesis: any request that the schema allows or forbids; images in it are valid."""
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    images = [encode_image(Image.fromarray(image.numpy())) for image in grids[:5].images[:, 0]]
    schemathesis.openapi.format("byte", st.sampled_from([base64.b64encode(it).decode() for it in images]))
    schemathesis.openapi.format("binary", st.sampled_from(images))
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
