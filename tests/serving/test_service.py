"""What a service answers, and what it says of itself."""

from __future__ import annotations

import base64
import json
import logging
import re
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from mnist_seq.inference.reader import Reader, Reading
from mnist_seq.serving.middleware import JSONFormatter
from tests.serving.conftest import encoded, form, reading, serving


def held(answer: dict[str, Any], readings: list[Reading]) -> None:
    """An answer says what these readings say."""
    assert [each["digits"] for each in answer["readings"]] == [each.digits for each in readings]
    for said, each in zip(answer["readings"], readings, strict=True):
        assert said["confidence"] == pytest.approx(each.confidence, rel=1e-4)
        assert said["per_digit"] == pytest.approx(each.per_digit, rel=1e-4)


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


def test_base64_is_read_with_the_prefix_of_a_data_url_and_with_line_breaks(
    client: TestClient, pictures: list[Image.Image]
) -> None:
    plain = base64.b64encode(encoded(pictures[0])).decode()
    broken = base64.encodebytes(encoded(pictures[0])).decode()
    ways = [plain, broken, broken.replace("\n", "\r\n\t"), *(f"{prefix}{broken}" for prefix in PREFIXES)]
    readings = client.post("/read", json={"images": ways}).json()["readings"]
    assert readings == readings[:1] * len(ways)


PREFIXES = ("data:image/png;base64,", "\n DATA:image/png;charset=utf-8;BASE64,\n", "data:;base64,")


@pytest.mark.parametrize(
    "text", ["data:image/png,{}", "data:image/png;base64,data:image/png;base64,{}", "AAAA data:image/png;base64,{}"]
)
def test_what_only_looks_like_a_data_url_is_refused(text: str, client: TestClient, pictures: list[Image.Image]) -> None:
    sent = text.format(base64.b64encode(encoded(pictures[0])).decode())
    answer = client.post("/read", json={"images": [sent]})
    assert (answer.status_code, answer.json()["detail"]) == (422, "images[0] is not base64")


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


def test_health_says_what_is_served(client: TestClient, reader: Reader) -> None:
    health = client.get("/healthz")
    assert health.status_code == 200
    assert health.json() | {"version": ""} == {
        "ready": True,
        "model": "tiny",
        "commit": reader.card["revision"],
        "version": "",
        "self_test": "not checked",
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
    told = [
        json.loads(JSONFormatter().format(record)) for record in caplog.records if record.name == "mnist_seq.requests"
    ]
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
