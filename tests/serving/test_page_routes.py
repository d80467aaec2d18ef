"""The page of the service."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from mnist_seq.compose_config import compose_training
from mnist_seq.config.serialization import to_dict
from mnist_seq.data import datasets
from mnist_seq.errors import UserError
from mnist_seq.inference.reader import Reader
from mnist_seq.serving import page_routes
from mnist_seq.serving.page_models import page_card
from tests.serving.conftest import make_client

TOKEN = "a-secret-of-16-or-more"
ACCESS = {"Authorization": f"Bearer {TOKEN}"}


def test_page_allows_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', response.text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "connect-src 'self'" in policy[1]
    assert "http" not in policy[1]


def cards_of(client: TestClient) -> list[dict[str, Any]]:
    (cards,) = re.findall(r'id="cards">(.*?)</script>', client.get("/").text)
    return list(json.loads(cards))


def graph_path(client: TestClient) -> str:
    """Where the page fetches the graph from."""
    return f"/page/{cards_of(client)[1]['graph']}"


def test_page_names_the_model_by_the_service_and_in_the_browser(client: TestClient) -> None:
    by_service, in_browser = cards_of(client)
    assert (by_service["name"], by_service["graph"]) == ("tiny", None)
    assert in_browser["name"] == "tiny, in this browser"
    assert re.fullmatch("model-[0-9a-f]{16}", in_browser["graph"])


def test_page_finds_no_graph_of_another_model(client: TestClient, reader: Reader) -> None:
    """Of the same name, as after training it anew."""
    other = Reader(deepcopy(reader.model), reader.card)
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    with make_client(other) as restarted:
        assert restarted.get(graph_path(client)).status_code == 404
        assert graph_path(restarted) != graph_path(client)


def test_page_without_onnx_reads_by_the_service_alone(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_routes, "missing_package", lambda extra: "onnx")
    assert [card["graph"] for card in cards_of(client)] == [None]


def test_a_token_guards_the_model_and_the_page_asks_for_it(reader: Reader) -> None:
    with make_client(reader, token=TOKEN) as client:
        assert 'id="access" hidden' not in client.get("/").text
        for path in ("/page/runtime", graph_path(client)):
            assert client.get(path).status_code == 401
        runtime = client.get("/page/runtime", headers=ACCESS)
        assert gzip.decompress(runtime.content).startswith(b"\0asm")


def test_the_browser_gets_the_model_that_the_service_reads_with(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what lies on the disk by then."""
    calls = []

    async def call(function: object, *args: bytes) -> bytes:
        calls.append(args)
        return b""

    monkeypatch.setattr(page_routes, "run_in_process", call)
    with make_client(reader) as client:
        assert client.get(graph_path(client)).status_code == 200
    ((pickled,),) = calls
    model, card = pickle.loads(pickled)
    assert card == reader.card
    for name, weight in reader.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)


def test_the_browser_keeps_the_runtime_until_it_changes(client: TestClient) -> None:
    first = client.get("/page/runtime")
    again = client.get("/page/runtime", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    other = client.get("/page/runtime", headers={"If-None-Match": '"other"'})
    assert other.content == first.content


def test_the_page_shows_no_pictures_of_a_folder(reader: Reader, tmp_path: Path) -> None:
    """They are the user's own, and the page is for whoever opens it."""
    for number in range(20):
        Image.fromarray(np.eye(28, dtype=bool)).save(tmp_path / f"{number % 10}_{number}x.png")
    data = compose_training([f"data.from={tmp_path}"]).data
    assert len(datasets.load(data).splits["val"])
    assert page_card("mine", reader.model, {"data": to_dict(data)}, "model")["examples"] == []
    assert page_card("grid", reader.model, reader.card, "model")["examples"]


def test_a_model_that_cannot_be_exported_is_told(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(self: object) -> bytes:
        raise UserError("MyModel cannot be exported")

    with make_client(reader) as client:
        path = graph_path(client)
        monkeypatch.setattr(page_routes._Once, "get", get)
        response = client.get(path)
    assert response.status_code == 501
    assert response.json() == {"detail": "MyModel cannot be exported"}
