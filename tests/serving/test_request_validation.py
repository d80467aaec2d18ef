"""What a service refuses: what cannot be read, what is too much, who has no token; and who leaves is not read."""

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
from mnist_seq.inference.reader import Reader, Reading
from mnist_seq.serving import service
from mnist_seq.serving.middleware import RequestMiddleware
from tests.serving.conftest import encoded, form, reading, serving

SMALL = RequestLimits(body_bytes=20_000, files=3, pixels=10_000, concurrency=4, queue_size=5, timeout=5)

REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no body": ({}, 415, "content type missing"),
    "text": ({"content": b"7", "headers": {"content-type": "text/plain"}}, 415, "text/plain: send multipart"),
    "no files": ({"files": {"note": (None, "hello")}}, 422, "0 pictures: send 1 to 3"),
    "an empty file": ({"files": form(b"")}, 415, "images[0] is not a readable PNG, JPEG or WebP"),
    "no image": ({"files": form(b"hello")}, 415, "images[0] is not a readable"),
    "GIF": ({"files": form(encoded(Image.new("L", (5, 5)), "gif"))}, 415, "images[0] is not a readable"),
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
    "too many": ({"json": {"images": ["aa=="] * 4}}, 422, "4 pictures: send 1 to 3"),
    "far too many": ({"files": form(*[b""] * 9)}, 422, "Too many files"),
    "too many pixels": ({"files": form(encoded(Image.new("L", (200, 51))))}, 413, "200x51 pixels: at most 10,000"),
    "too many bytes": ({"files": form(bytes(30_000))}, 413, "more than 20,000 bytes"),
    "cut off": ({"files": form(encoded(Image.effect_noise((60, 60), 90))[:900])}, 422, "images[0] is damaged"),
    "moving": (
        {
            "files": form(
                encoded(Image.new("L", (9, 9)), "webp", save_all=True, append_images=[Image.new("L", (9, 9), 9)])
            )
        },
        422,
        "images[0] has 2 frames",
    ),
    "a broken form": (
        {"content": b"--x\r\n\r\nbroken\r\n--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        422,
        "not a form that can be read",
    ),
    "no boundary": ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 422, "not a form"),
}


@pytest.fixture(scope="module")
def strict(reader: Reader) -> Iterator[TestClient]:
    with serving(reader, limits=SMALL) as found:
        yield found


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason(what: str, strict: TestClient) -> None:
    request, status, reason = REFUSED[what]
    answer = strict.post("/read", **request)
    assert (answer.status_code, reason in answer.json()["detail"]) == (status, True), answer.text
    assert "\n" not in answer.json()["detail"]
    assert str(status) in strict.get("/openapi.json").json()["paths"]["/read"]["post"]["responses"]


SCOPE = {"type": "http", "method": "POST", "path": "/read", "query_string": b"", "http_version": "1.1", "root_path": ""}


def test_a_body_without_a_length_is_not_read_beyond_its_limit(strict: TestClient) -> None:
    received, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 1000
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = SCOPE | {"headers": [(b"content-type", b"application/json")], "state": {}}
    asyncio.run(strict.app(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert received == SMALL.body_bytes + 1000


def test_who_leaves_is_not_read(reader: Reader, pictures: list[Image.Image]) -> None:
    """Nobody is told anything, and of the pictures none is read that waits."""
    sizes, enter, leave = [], threading.Event(), threading.Event()

    def counted(canvases: torch.Tensor) -> list[Reading]:
        sizes.append(len(canvases))
        if len(sizes) > 1:  # the first warms up
            enter.set()
            assert leave.wait(20)
        return reader.read_canvases(canvases)

    async def ask() -> list[Any]:
        request = httpx.Request("POST", "http://x/read", files=form(*map(encoded, pictures[:3])))
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
        app = service.create_app(reading(reader, counted), ServeConfig(max_batch_size=1))
        async with app.router.lifespan_context(app):
            await app(SCOPE | {"headers": headers, "state": {}}, receive, send)  # type: ignore[arg-type]
            leave.set()
        return sent

    assert asyncio.run(ask()) == []
    assert sizes == [1, 1], "one to warm up, one that was being read"


def test_a_picture_is_measured_before_it_is_decoded(strict: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(self: Image.Image) -> None:
        raise AssertionError("decoded")

    bomb = encoded(Image.new("1", (9000, 9000)))
    assert len(bomb) < SMALL.body_bytes
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert strict.post("/read", files=form(bomb)).status_code == 413


def test_one_bad_picture_of_several_is_named(strict: TestClient, pictures: list[Image.Image]) -> None:
    answer = strict.post("/read", files=form(encoded(pictures[0]), b"no", encoded(pictures[1])))
    assert (answer.status_code, answer.json()["detail"][:9]) == (415, "images[1]")


def test_a_full_queue_says_when_to_come_back(reader: Reader, pictures: list[Image.Image]) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slowly(canvases: torch.Tensor) -> list[Reading]:
        entered.set()
        assert leave.wait(20)
        return reader.read_canvases(canvases)

    leave.set()
    with serving(reading(reader, slowly), batch=1, limits=RequestLimits(files=2, queue_size=3)) as client:
        leave.clear()
        entered.clear()
        with ThreadPoolExecutor(2) as others:
            first = others.submit(client.post, "/read", files=form(encoded(pictures[0])))
            assert entered.wait(20)
            second = others.submit(client.post, "/read", files=form(*map(encoded, pictures[1:3])))
            while "pictures_in_hand 3.0" not in client.get("/metrics").text:
                time.sleep(0.01)
            refused = client.post("/read", files=form(encoded(pictures[3])))
            leave.set()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["detail"] == "3 pictures are in hand: come back"
        assert (first.result().status_code, second.result().status_code) == (200, 200)


def test_who_waits_too_long_is_told_to_come_back(reader: Reader, pictures: list[Image.Image]) -> None:
    leave = threading.Event()
    leave.set()

    def slowly(canvases: torch.Tensor) -> list[Reading]:
        assert leave.wait(20)
        return reader.read_canvases(canvases)

    with serving(reading(reader, slowly), limits=RequestLimits(timeout=0.2)) as client:
        leave.clear()
        refused = client.post("/read", files=form(encoded(pictures[0])))
        leave.set()
        assert (refused.status_code, refused.json()["detail"]) == (429, "not read within 0.2 s: come back")


def test_too_many_requests_at_once_say_when_to_come_back(reader: Reader) -> None:
    with serving(reader, limits=RequestLimits(concurrency=1)) as client:
        guard = client.app.middleware_stack  # type: ignore[attr-defined]
        while not isinstance(guard, RequestMiddleware):
            guard = guard.app
        guard.num_active += 1
        answer = client.get("/metrics")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert client.get("/healthz").status_code == 200, "busy is not ill"
        guard.num_active -= 1
        assert client.get("/metrics").status_code == 200


def test_whoever_has_no_token_reads_nothing(reader: Reader, pictures: list[Image.Image]) -> None:
    token = "a-token-of-16-characters"
    with serving(reader, token=token) as client:
        for given in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {token}"},
            {"authorization": token},
        ):
            for answer in (
                client.post("/read", files=form(encoded(pictures[0])), headers=given),
                client.get("/metrics", headers=given),
            ):
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        right = {"authorization": f"Bearer {token}"}
        assert client.post("/read", files=form(encoded(pictures[0])), headers=right).status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"max_batch_size": 0}, "max_batch_size=0"),
        ({"port": 70000}, "port=70000"),
        ({"token": "short"}, "16 or more printable"),
        ({"token": "p\u00e4ssw\u00f6rd-p\u00e4ssw\u00f6rd"}, "16 or more printable"),
        ({"threads": 0}, "threads=0"),
        ({"device": "tpu"}, "device=tpu"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(broken: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ServeConfig(**broken)
    with pytest.raises(ValueError, match="never fit"):
        RequestLimits(files=9, queue_size=8)
    with pytest.raises(ValueError, match=r"limits.timeout=0"):
        RequestLimits(timeout=0)
