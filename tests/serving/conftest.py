"""A reader to be served, here or as a process, pictures to ask it about, and ways to ask."""

from __future__ import annotations

import copy
import io
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

import mnist_seq
from mnist_seq.config import ServeConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.inference.reader import Reader, Reading, load
from mnist_seq.run_dir import Run
from mnist_seq.serving.service import create_app
from tests.serving.service_process import Service


@pytest.fixture(scope="session")
def reader(tiny_run: Run) -> Reader:
    return load(tiny_run.path)


@pytest.fixture
def pictures(grids: SyntheticDataset) -> list[Image.Image]:
    """Of the model's own size, so that they are read as they are."""
    return [Image.fromarray(image.numpy()) for image in grids[:24].images[:, 0]]


@pytest.fixture
def client(reader: Reader) -> Iterator[TestClient]:
    with serving(reader) as found:
        yield found


@pytest.fixture(scope="module")
def service(tiny_run: Run) -> Iterator[Service]:
    """Its allocator gives back at once what is large, so that its memory can be compared."""
    with Service(tiny_run.path, MALLOC_MMAP_THRESHOLD_="131072") as started:
        yield started
        statuses = Counter(line["status"] for line in started.said if "status" in line)
        assert not [status for status in statuses if status >= 500], statuses
        assert not [line for line in started.said if "Traceback" in str(line)], started.said
        assert started.stop() == 0


@pytest.fixture
def healthy(service: Service, grids: SyntheticDataset, tiny_run: Run) -> Iterator[Service]:
    """It still reads right afterwards."""
    yield service
    picture = Image.fromarray(grids[:1].images[0, 0].numpy())
    answer = httpx.post(f"{service.url}/read", files=form(encoded(picture)))
    assert answer.json()["readings"][0]["digits"] == mnist_seq.load(tiny_run.path).read(picture).digits


def reading(reader: Reader, read: Callable[[torch.Tensor], list[Reading]]) -> Reader:
    """One that reads canvases in another way."""
    other = copy.copy(reader)
    other.read_canvases = read  # type: ignore[method-assign]
    return other


def serving(reader: Reader, **config: Any) -> TestClient:
    """A client of a service in this process, to be entered."""
    return TestClient(create_app(reader, ServeConfig(run="tiny", **config)))


def encoded(picture: Image.Image, kind: str = "png", **how: Any) -> bytes:
    """As a file's content."""
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def form(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """As the files of a form; names and types are a client's to choose, and mean nothing."""
    return [("files", (f"../../{place}.txt", data)) for place, data in enumerate(files)]
