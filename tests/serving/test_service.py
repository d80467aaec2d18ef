"""The service returns what the reader reads, and reports on itself."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

import mnist_seq
from mnist_seq.config import StringConfig
from mnist_seq.inference.reader import Reader
from mnist_seq.inference.reading import Reading
from mnist_seq.nn import build
from mnist_seq.serving.json_logging import JSONFormatter
from tests.conftest import stirred, tiny_models
from tests.serving.conftest import encode_image, form, make_client, with_read_canvases


def assert_readings(body: dict[str, Any], expected: list[Reading]) -> None:
    assert [item["digits"] for item in body["readings"]] == [reading.digits for reading in expected]
    for item, reading in zip(body["readings"], expected, strict=True):
        assert item["confidence"] == pytest.approx(reading.confidence, rel=1e-4)
        assert item["per_digit"] == pytest.approx(reading.per_digit, rel=1e-4)


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_response_is_what_the_reader_reads(
    kind: str, client: TestClient, reader: Reader, images: list[Image.Image], tmp_path: Any
) -> None:
    options: dict[str, Any] = {"png": {}, "webp": {"lossless": True}, "jpeg": {"quality": 95}}[kind]
    files = [encode_image(image, kind, **options) for image in images[:5]]
    expected = []
    for index, data in enumerate(files):
        (tmp_path / f"{index}.{kind}").write_bytes(data)
        expected.append(reader.read(tmp_path / f"{index}.{kind}"))
    by_form = client.post("/read", files=form(*files))
    by_json = client.post("/read", json={"images": [base64.b64encode(data).decode() for data in files]})
    for response in (by_form, by_json):
        assert response.status_code == 200
        assert response.json()["model"] == "tiny"
        assert_readings(response.json(), expected)


def test_base64_is_read_with_data_url_prefix_and_line_breaks(client: TestClient, images: list[Image.Image]) -> None:
    plain = base64.b64encode(encode_image(images[0])).decode()
    broken = base64.encodebytes(encode_image(images[0])).decode()
    ways = [plain, broken, broken.replace("\n", "\r\n\t"), *(f"{prefix}{broken}" for prefix in PREFIXES)]
    readings = client.post("/read", json={"images": ways}).json()["readings"]
    assert readings == readings[:1] * len(ways)


PREFIXES = ("data:image/png;base64,", "\n DATA:image/png;charset=utf-8;BASE64,\n", "data:;base64,")


@pytest.mark.parametrize(
    "text", ["data:image/png,{}", "data:image/png;base64,data:image/png;base64,{}", "AAAA data:image/png;base64,{}"]
)
def test_invalid_data_url_is_rejected(text: str, client: TestClient, images: list[Image.Image]) -> None:
    sent = text.format(base64.b64encode(encode_image(images[0])).decode())
    response = client.post("/read", json={"images": [sent]})
    assert (response.status_code, response.json()["detail"]) == (422, "images[0] is not base64")


def test_images_of_any_size_and_mode_are_read_as_by_the_reader(
    client: TestClient, reader: Reader, images: list[Image.Image]
) -> None:
    for image in (
        images[0].resize((170, 170)),
        Image.fromarray(255 - np.asarray(images[1])).convert("RGB").resize((300, 200)),
        images[2].convert("RGBA").convert("P"),
        images[3].convert("1"),
    ):
        response = client.post("/read", files=form(encode_image(image)))
        assert response.status_code == 200, response.text
        assert_readings(response.json(), [reader.read(image)])


def test_rows_and_warnings_of_pictures_are_those_of_the_reader() -> None:
    reader = Reader(stirred(build(tiny_models()["enc_dec"], StringConfig().spec)), {})
    digits = mnist_seq.scenes("single", "data.digits=uci", split="test")[:12].images[:, 0].numpy()
    upper, lower = np.concatenate(list(digits[:3]), 1), np.concatenate(list(digits[3:]), 1)
    upper = np.pad(upper, ((0, 12), (0, lower.shape[1] - upper.shape[1])))
    page = Image.fromarray(255 - np.pad(np.concatenate([upper, lower]), 20)).convert("RGB")
    red, green, blue = page.split()
    photo = Image.merge("RGB", [red, green.point(lambda level: level * 3 // 4), blue])
    with make_client(reader) as client:
        for picture in (page, photo):
            (body,) = client.post("/read", files=form(encode_image(picture, "jpeg"))).json()["readings"]
            expected = reader.read(Image.open(io.BytesIO(encode_image(picture, "jpeg"))))
            assert len(body["rows"]) == len(expected.rows) == 2
            assert body["digits"] == expected.digits
            warning = "9 separate shapes found, but this model reads at most 8"
            assert body["warning"] == expected.warning == f"row 2: {warning}"
            assert [row["warning"] for row in body["rows"]] == ["", warning]
            for row, expected_row in zip(body["rows"], expected.rows, strict=True):
                assert row["digits"] == expected_row.digits
                assert row["box"] == pytest.approx(expected_row.box)


def test_boxes_are_in_pixels_of_the_file_whatever_scale_it_is_decoded_at() -> None:
    reader = Reader(stirred(build(tiny_models()["enc_dec"], StringConfig().spec)), {})
    digits = mnist_seq.scenes("single", "data.digits=uci", split="test")[:3].images[:, 0].numpy()
    row = Image.fromarray(255 - np.pad(np.concatenate(list(digits), 1), 28))
    large = row.resize((40 * row.width, 40 * row.height), Image.Resampling.BICUBIC)
    expected = np.array(reader.read(large).box)
    with make_client(reader) as client:
        for kind in ("jpeg", "png"):
            (body,) = client.post("/read", files=form(encode_image(large, kind))).json()["readings"]
            assert np.abs(np.array(body["box"]) - expected).max() < 0.02 * large.width


def test_exif_orientation_is_applied(client: TestClient, reader: Reader, images: list[Image.Image]) -> None:
    rotated, exif = images[0].transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    response = client.post("/read", files=form(encode_image(rotated, "png", exif=exif)))
    assert_readings(response.json(), [reader.read(images[0])])


def test_healthz_describes_the_model(client: TestClient, reader: Reader) -> None:
    health = client.get("/healthz")
    assert health.status_code == 200
    assert health.json() | {"version": ""} == {
        "ready": True,
        "model": "tiny",
        "commit": reader.card["revision"],
        "version": "",
        "self_test": "not checked",
        "engine": "torch",
        "canvas": [56, 56],
        "max_digits": 4,
    }


def test_prometheus_metrics_count_requests_and_images(client: TestClient, images: list[Image.Image]) -> None:
    for _ in range(3):
        client.post("/read", files=form(encode_image(images[0]), encode_image(images[1])))
    client.post("/read", files=form(b"no"))
    client.get("/nowhere")
    text = client.get("/metrics").text
    values = dict(re.findall(r"^mnist_seq_(\S+) (\S+)$", text, re.MULTILINE))
    assert values['requests_total{path="/read",status="200"}'] == "3.0"
    assert values['requests_total{path="/read",status="415"}'] == "1.0"
    assert values['requests_total{path="other",status="404"}'] == "1.0"
    assert values["images_total"] == "6.0"
    assert values["images_in_flight"] == "0.0"


def test_request_is_logged_in_one_line_under_its_own_or_the_clients_id(
    client: TestClient, images: list[Image.Image], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mnist_seq.requests"):
        mine = client.post("/read", files=form(encode_image(images[0])), headers={"x-request-id": "mine-7"})
        others = [client.get("/healthz", headers={"x-request-id": bad}) for bad in ("", "a b", "x" * 65)]
    assert mine.headers["x-request-id"] == "mine-7"
    names = {response.headers["x-request-id"] for response in others}
    assert len(names) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    entries = [
        json.loads(JSONFormatter().format(record)) for record in caplog.records if record.name == "mnist_seq.requests"
    ]
    assert [entry["request_id"] for entry in entries] == [
        "mine-7",
        *(response.headers["x-request-id"] for response in others),
    ]
    assert entries[0]["num_images"] == 1
    assert {**entries[0], "ms": 0, "time": ""} == {
        "time": "",
        "level": "info",
        "logger": "mnist_seq.requests",
        "request_id": "mine-7",
        "method": "POST",
        "path": "/read",
        "status": 200,
        "ms": 0,
        "num_images": 1,
    }


def test_failed_request_never_affects_the_next(reader: Reader, images: list[Image.Image]) -> None:
    fail = False

    def read(canvases: torch.Tensor) -> list[Reading]:
        if fail:
            raise RuntimeError("out of memory")
        return reader.read_canvases(canvases)

    with TestClient(make_client(with_read_canvases(reader, read)).app, raise_server_exceptions=False) as client:
        fail = True
        assert client.post("/read", files=form(encode_image(images[0]))).status_code == 500
        fail = False
        assert client.post("/read", files=form(encode_image(images[0]))).status_code == 200
        assert client.get("/healthz").json()["ready"]


def test_openapi_documents_the_body_and_its_example_is_read(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/read"]["post"]["requestBody"]["content"]
    assert body.keys() == {"multipart/form-data", "application/json"}
    for example in body["application/json"]["examples"].values():
        assert client.post("/read", json=example["value"]).status_code == 200
    page = client.get("/docs").text
    assert "http" not in re.sub(r"http://(www\.w3\.org|testserver)", "", page), (
        "the page fetches nothing from elsewhere"
    )
