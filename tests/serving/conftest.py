"""Fixtures of the service: a reader, images, a client in this process, a service in another."""

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
def images(grids: SyntheticDataset) -> list[Image.Image]:
    """Scenes of the model's input size, which are read as they are."""
    return [Image.fromarray(image.numpy()) for image in grids[:24].images[:, 0]]


@pytest.fixture
def client(reader: Reader) -> Iterator[TestClient]:
    with make_client(reader) as client:
        yield client


@pytest.fixture(scope="module")
def service(tiny_run: Run) -> Iterator[Service]:
    """A service process whose allocator returns large blocks at once, so that memory can be compared."""
    with Service(tiny_run.path, MALLOC_MMAP_THRESHOLD_="131072") as service:
        yield service
        statuses = Counter(line["status"] for line in service.log if "status" in line)
        assert not [status for status in statuses if status >= 500], statuses
        assert not [line for line in service.log if "Traceback" in str(line)], service.log
        assert service.stop() == 0


@pytest.fixture
def healthy_service(service: Service, grids: SyntheticDataset, tiny_run: Run) -> Iterator[Service]:
    """The service; after the test it must still read correctly."""
    yield service
    image = Image.fromarray(grids[:1].images[0, 0].numpy())
    response = httpx.post(f"{service.url}/read", files=form(encode_image(image)))
    assert response.json()["readings"][0]["digits"] == mnist_seq.load(tiny_run.path).read(image).digits


def with_read_canvases(reader: Reader, read: Callable[[torch.Tensor], list[Reading]]) -> Reader:
    """A copy of a reader with another `read_canvases`."""
    other = copy.copy(reader)
    other.read_canvases = lambda canvases, num_beams=1: read(canvases)  # type: ignore[method-assign]
    return other


def make_client(reader: Reader, **config: Any) -> TestClient:
    """A client of a service in this process, to be used as a context manager."""
    return TestClient(create_app(reader, ServeConfig(run="tiny", **{"engine": "torch", **config})))


def encode_image(image: Image.Image, format_: str = "png", **options: Any) -> bytes:
    """Encode an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def form(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Form files; their names and types are ignored by the service."""
    return [("files", (f"../../{index}.txt", data)) for index, data in enumerate(files)]
