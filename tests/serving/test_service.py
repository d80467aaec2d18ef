"""What a service answers, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from mnist_seq.config import Limits, ServeConfig
from mnist_seq.serving import service
from mnist_seq.serving.guard import Guard, JSONLines
from mnist_seq.use.reader import Reader, Reading
from tests.serving.conftest import encoded, form, serving

SMALL = Limits(bytes=20_000, files=3, pixels=10_000, requests=4, queue=5, seconds=5)


def reading(reader: Reader, read: Callable[[torch.Tensor], list[Reading]]) -> Reader:
    """One that reads canvases in another way."""
    other = copy.copy(reader)
    other.read_canvases = read  # type: ignore[method-assign]
    return other


def held(answer: dict[str, Any], readings: list[Reading]) -> None:
    """An answer says what these readings say."""
    assert [each["digits"] for each in answer["readings"]] == [each.digits for each in readings]
    for said, reading in zip(answer["readings"], readings, strict=True):
        assert said["confidence"] == pytest.approx(reading.confidence, rel=1e-4)
        assert said["per_digit"] == pytest.approx(reading.per_digit, rel=1e-4)


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_an_answer_is_what_the_reader_reads(
    kind: str, client: TestClient, reader: Reader, pictures: list[Image.Image], tmp_path: Any
) -> None:
    how = {"png": {}, "webp": {"lossless": True}, "jpeg": {"quality": 95}}[kind]
    files = [encoded(picture, kind, **how) for picture in pictures[:5]]
    expected = []
    for place, data in enumerate(files):
        (tmp_path / f"{place}.{kind}").write_bytes(data)
        expected.append(reader.read(tmp_path / f"{place}.{kind}"))
    by_form = client.post("/read", files=form(*files))
    by_json = client.post("/read", json={"images": [base64.b64encode(data).decode() for data in files]})
    for answer in (by_form, by_json):
        assert answer.status_code == 200
        assert answer.json()["model"] == "tiny"
        held(answer.json(), expected)


def test_pictures_of_any_size_and_colour_are_fitted_as_the_reader_does(
    client: TestClient, reader: Reader, pictures: list[Image.Image]
) -> None:
    for picture in (
        pictures[0].resize((170, 170)),
        Image.fromarray(255 - np.asarray(pictures[1])).convert("RGB").resize((300, 200)),
        pictures[2].convert("RGBA").convert("P"),
        pictures[3].convert("1"),
    ):
        answer = client.post("/read", files=form(encoded(picture)))
        assert answer.status_code == 200, answer.text
        held(answer.json(), [reader.read(picture)])


def test_a_photograph_is_read_the_way_up_it_was_taken(
    client: TestClient, reader: Reader, pictures: list[Image.Image]
) -> None:
    turned, exif = pictures[0].transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # "turn me by 90 degrees clockwise"
    answer = client.post("/read", files=form(encoded(turned, "png", exif=exif)))
    held(answer.json(), [reader.read(pictures[0])])


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
    assert received == SMALL.bytes + 1000


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
        app = service.build(reading(reader, counted), ServeConfig(batch=1))
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
    assert len(bomb) < SMALL.bytes
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
    with serving(reading(reader, slowly), batch=1, limits=Limits(files=2, queue=3)) as client:
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

    with serving(reading(reader, slowly), limits=Limits(seconds=0.2)) as client:
        leave.clear()
        refused = client.post("/read", files=form(encoded(pictures[0])))
        leave.set()
        assert (refused.status_code, refused.json()["detail"]) == (429, "not read within 0.2 s: come back")


def test_too_many_requests_at_once_say_when_to_come_back(reader: Reader) -> None:
    with serving(reader, limits=Limits(requests=1)) as client:
        guard = client.app.middleware_stack  # type: ignore[attr-defined]
        while not isinstance(guard, Guard):
            guard = guard.app
        guard.active += 1
        answer = client.get("/metrics")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert client.get("/healthz").status_code == 200, "busy is not ill"
        guard.active -= 1
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


def test_health_says_what_is_served(client: TestClient, reader: Reader) -> None:
    health = client.get("/healthz")
    assert health.status_code == 200
    assert health.json() | {"version": ""} == {
        "ready": True,
        "model": "tiny",
        "commit": reader.card["revision"],
        "version": "",
        "gate": "not examined",
        "canvas": [56, 56],
        "max_digits": 4,
    }


def test_what_is_counted_is_what_happened(client: TestClient, pictures: list[Image.Image]) -> None:
    for _ in range(3):
        client.post("/read", files=form(encoded(pictures[0]), encoded(pictures[1])))
    client.post("/read", files=form(b"no"))
    client.get("/nowhere")
    told = client.get("/metrics").text
    counted = dict(re.findall(r"^mnist_seq_(\S+) (\S+)$", told, re.MULTILINE))
    assert counted['requests_total{path="/read",status="200"}'] == "3.0"
    assert counted['requests_total{path="/read",status="415"}'] == "1.0"
    assert counted['requests_total{path="other",status="404"}'] == "1.0"
    assert counted["pictures_total"] == "6.0"
    assert counted["pictures_in_hand"] == "0.0"


def test_a_request_is_told_in_a_line_under_a_name_of_its_own_or_the_clients(
    client: TestClient, pictures: list[Image.Image], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mnist_seq.requests"):
        mine = client.post("/read", files=form(encoded(pictures[0])), headers={"x-request-id": "mine-7"})
        others = [client.get("/healthz", headers={"x-request-id": bad}) for bad in ("", "a b", "x" * 65)]
    assert mine.headers["x-request-id"] == "mine-7"
    names = {answer.headers["x-request-id"] for answer in others}
    assert len(names) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    told = [json.loads(JSONLines().format(record)) for record in caplog.records if record.name == "mnist_seq.requests"]
    assert [line["request"] for line in told] == ["mine-7", *(answer.headers["x-request-id"] for answer in others)]
    assert told[0]["pictures"] == 1
    assert {**told[0], "ms": 0, "time": ""} == {
        "time": "",
        "level": "info",
        "logger": "mnist_seq.requests",
        "request": "mine-7",
        "method": "POST",
        "path": "/read",
        "status": 200,
        "ms": 0,
        "pictures": 1,
    }


def test_a_reading_that_fails_is_nobody_elses(reader: Reader, pictures: list[Image.Image]) -> None:
    fail = False

    def read(canvases: torch.Tensor) -> list[Reading]:
        if fail:
            raise RuntimeError("out of memory")
        return reader.read_canvases(canvases)

    with TestClient(serving(reading(reader, read)).app, raise_server_exceptions=False) as client:
        fail = True
        assert client.post("/read", files=form(encoded(pictures[0]))).status_code == 500
        fail = False
        assert client.post("/read", files=form(encoded(pictures[0]))).status_code == 200
        assert client.get("/healthz").json()["ready"]


def test_the_document_says_what_can_be_sent_and_its_example_is_read(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/read"]["post"]["requestBody"]["content"]
    assert body.keys() == {"multipart/form-data", "application/json"}
    for example in body["application/json"]["examples"].values():
        assert client.post("/read", json=example["value"]).status_code == 200
    page = client.get("/docs").text
    assert "http" not in re.sub(r"http://(www\.w3\.org|testserver)", "", page), (
        "the page fetches nothing from elsewhere"
    )


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"batch": 0}, "batch=0"),
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
        Limits(files=9, queue=8)
    with pytest.raises(ValueError, match=r"limits.seconds=0"):
        Limits(seconds=0)
