"""The service rejects unreadable, oversized, excess and unauthenticated requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from mnist_seq.config import RequestLimits, ServeConfig
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.serving import service
from mnist_seq.serving.middleware import RequestMiddleware
from tests.serving.conftest import encode_image, form, make_client, with_read_canvases

SMALL_LIMITS = RequestLimits(body_bytes=20_000, files=3, pixels=10_000, concurrency=4, queue_size=5, timeout=5)

REJECTED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no body": ({}, 415, "content type missing"),
    "text": ({"content": b"7", "headers": {"content-type": "text/plain"}}, 415, "text/plain: send multipart"),
    "no files": ({"files": {"note": (None, "hello")}}, 422, "0 images: send 1 to 3"),
    "an empty file": ({"files": form(b"")}, 415, "images[0] is not a readable PNG, JPEG or WebP"),
    "no image": ({"files": form(b"hello")}, 415, "images[0] is not a readable"),
    "GIF": ({"files": form(encode_image(Image.new("L", (5, 5)), "gif"))}, 415, "images[0] is not a readable"),
    "not JSON": ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "body: Invalid JSON"),
    "another key": ({"json": {"pictures": []}}, 422, "images: Field required"),
    "a line break": ({"json": {"a\nb": 1, "images": ["a"]}}, 422, "a b: Extra inputs are not permitted"),
    "another charset": (
        {"content": b"--x--", "headers": {"content-type": "multipart/form-data; boundary=x; charset=punycode"}},
        422,
        "its charset is not utf-8",
    ),
    "none": ({"json": {"images": []}}, 422, "images: List should have at least 1"),
    "no text": ({"json": {"images": [7]}}, 422, "images.0: Input should be a valid string"),
    "not base64": ({"json": {"images": ["#"]}}, 422, "images[0] is not base64"),
    "too many": ({"json": {"images": ["aa=="] * 4}}, 422, "4 images: send 1 to 3"),
    "far too many": ({"files": form(*[b""] * 9)}, 422, "Too many files"),
    "too many pixels": ({"files": form(encode_image(Image.new("L", (200, 51))))}, 413, "200x51 pixels: at most 10,000"),
    "too many bytes": ({"files": form(bytes(30_000))}, 413, "more than 20,000 bytes"),
    "cut off": ({"files": form(encode_image(Image.effect_noise((60, 60), 90))[:900])}, 422, "images[0] is damaged"),
    "moving": (
        {
            "files": form(
                encode_image(Image.new("L", (9, 9)), "webp", save_all=True, append_images=[Image.new("L", (9, 9), 9)])
            )
        },
        422,
        "images[0] has 2 frames",
    ),
    "a broken form": (
        {"content": b"--x\r\n\r\nbroken\r\n--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        422,
        "invalid form",
    ),
    "no boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "invalid form"),
}


@pytest.fixture(scope="module")
def strict_client(reader: Reader) -> Iterator[TestClient]:
    with make_client(reader, limits=SMALL_LIMITS) as client:
        yield client


@pytest.mark.parametrize("what", REJECTED)
def test_unreadable_request_is_rejected_with_the_reason(what: str, strict_client: TestClient) -> None:
    request, status, reason = REJECTED[what]
    response = strict_client.post("/read", **request)
    assert (response.status_code, reason in response.json()["detail"]) == (status, True), response.text
    assert "\n" not in response.json()["detail"]
    assert str(status) in strict_client.get("/openapi.json").json()["paths"]["/read"]["post"]["responses"]


SCOPE = {"type": "http", "method": "POST", "path": "/read", "query_string": b"", "http_version": "1.1", "root_path": ""}


def test_body_without_a_length_is_never_read_beyond_its_limit(strict_client: TestClient) -> None:
    received, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1000
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = SCOPE | {"headers": [(b"content-type", b"application/json")], "state": {}}
    asyncio.run(strict_client.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert received == SMALL_LIMITS.body_bytes + 1000


def test_images_of_a_disconnected_client_are_not_read(reader: Reader, images: list[Image.Image]) -> None:
    """No response is sent, and queued images are dropped."""
    sizes, enter, leave = [], threading.Event(), threading.Event()

    def counting_read(canvases: torch.Tensor) -> list[Reading]:
        sizes.append(len(canvases))
        if len(sizes) > 1:  # the first warms up
            enter.set()
            assert leave.wait(20)
        return reader.read_canvases(canvases)

    async def ask() -> list[Any]:
        request = httpx.Request("POST", "http://x/read", files=form(*map(encode_image, images[:3])))
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": request.read(), "more_body": False}]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            assert await asyncio.to_thread(enter.wait, 20)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(name.lower(), value) for name, value in request.headers.raw]
        app = service.create_app(with_read_canvases(reader, counting_read), ServeConfig(max_batch_size=1))
        async with app.router.lifespan_context(app):
            await app(SCOPE | {"headers": headers, "state": {}}, receive, send)  # type: ignore[arg-type]
            leave.set()
        return sent

    assert asyncio.run(ask()) == []
    assert sizes == [1, 1], "one to warm up, one that was being read"


def test_image_size_is_checked_before_decoding(strict_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Image.Image) -> None:
        raise AssertionError("decoded")

    bomb = encode_image(Image.new("1", (9000, 9000)))
    assert len(bomb) < SMALL_LIMITS.body_bytes
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    assert strict_client.post("/read", files=form(bomb)).status_code == 413


def test_bad_image_of_several_is_named(strict_client: TestClient, images: list[Image.Image]) -> None:
    response = strict_client.post("/read", files=form(encode_image(images[0]), b"no", encode_image(images[1])))
    assert (response.status_code, response.json()["detail"][:9]) == (415, "images[1]")


def test_full_queue_returns_429_with_retry_after(reader: Reader, images: list[Image.Image]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def blocking_read(canvases: torch.Tensor) -> list[Reading]:
        entered.set()
        assert leave.wait(20)
        return reader.read_canvases(canvases)

    leave.set()
    with make_client(
        with_read_canvases(reader, blocking_read), max_batch_size=1, limits=RequestLimits(files=2, queue_size=3)
    ) as client:
        leave.clear()
        entered.clear()
        with ThreadPoolExecutor(2) as others:
            first = others.submit(client.post, "/read", files=form(encode_image(images[0])))
            assert entered.wait(20)
            second = others.submit(client.post, "/read", files=form(*map(encode_image, images[1:3])))
            while "images_in_flight 3.0" not in client.get("/metrics").text:
                time.sleep(0.01)
            refused = client.post("/read", files=form(encode_image(images[3])))
            leave.set()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["detail"] == "3 images in flight: retry later"
        assert (first.result().status_code, second.result().status_code) == (200, 200)


def test_request_that_waits_too_long_returns_429(reader: Reader, images: list[Image.Image]) -> None:
    leave = threading.Event()
    leave.set()

    def blocking_read(canvases: torch.Tensor) -> list[Reading]:
        assert leave.wait(20)
        return reader.read_canvases(canvases)

    with make_client(with_read_canvases(reader, blocking_read), limits=RequestLimits(timeout=0.2)) as client:
        leave.clear()
        refused = client.post("/read", files=form(encode_image(images[0])))
        leave.set()
        assert (refused.status_code, refused.json()["detail"]) == (429, "not read within 0.2 s: retry later")


def test_excess_concurrent_requests_return_429_and_healthz_still_works(reader: Reader) -> None:
    with make_client(reader, limits=RequestLimits(concurrency=1)) as client:
        middleware = client.app.middleware_stack  # type: ignore[attr-defined]
        while not isinstance(middleware, RequestMiddleware):
            middleware = middleware.app
        middleware.num_active += 1
        response = client.get("/metrics")
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert client.get("/healthz").status_code == 200, "a busy service is healthy"
        middleware.num_active -= 1
        assert client.get("/metrics").status_code == 200


def test_request_without_the_token_returns_401(reader: Reader, images: list[Image.Image]) -> None:
    token = "a-token-of-16-characters"
    with make_client(reader, token=token) as client:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {token}"},
            {"authorization": token},
        ):
            for response in (
                client.post("/read", files=form(encode_image(images[0])), headers=headers),
                client.get("/metrics", headers=headers),
            ):
                assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        valid = {"authorization": f"Bearer {token}"}
        assert client.post("/read", files=form(encode_image(images[0])), headers=valid).status_code == 200
        assert client.get("/metrics", headers=valid).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_batch_size": 0}, "max_batch_size=0"),
        ({"port": 70000}, "port=70000"),
        ({"token": "short"}, "16 or more printable"),
        ({"token": "p\u00e4ssw\u00f6rd-p\u00e4ssw\u00f6rd"}, "16 or more printable"),
        ({"threads": 0}, "threads=0"),
        ({"device": "tpu"}, "device=tpu"),
    ],
)
def test_invalid_config_is_rejected(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServeConfig(**changed)
    with pytest.raises(ValueError, match="do not fit"):
        RequestLimits(files=9, queue_size=8)
    with pytest.raises(ValueError, match=r"limits.timeout=0"):
        RequestLimits(timeout=0)
