"""A reader to be served, pictures to ask it about, and ways to ask."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from mnist_seq.config import ServeConfig
from mnist_seq.data.sets import Synthesised
from mnist_seq.run import Run
from mnist_seq.serving import service
from mnist_seq.use.reader import Reader, load


@pytest.fixture(scope="session")
def reader(tiny_run: Run) -> Reader:
    return load(tiny_run.path)


@pytest.fixture
def pictures(grids: Synthesised) -> list[Image.Image]:
    """Of the model's own size, so that they are read as they are."""
    return [Image.fromarray(image.numpy()) for image in grids[:24].images[:, 0]]


@pytest.fixture
def client(reader: Reader) -> Iterator[TestClient]:
    with serving(reader) as found:
        yield found


def serving(reader: Reader, **config: Any) -> TestClient:
    """A client of a service in this process, to be entered."""
    return TestClient(service.build(reader, ServeConfig(run="tiny", **config)))


def encoded(picture: Image.Image, kind: str = "png", **how: Any) -> bytes:
    """As a file's content."""
    file = io.BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


def form(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """As the files of a form; names and types are a client's to choose, and mean nothing."""
    return [("files", (f"../../{place}.txt", data)) for place, data in enumerate(files)]
