"""An exported model, and a reader of the tiny run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mnist_seq
from mnist_seq.evaluation import release_check
from mnist_seq.inference import weights
from mnist_seq.inference.export import export_weights
from mnist_seq.inference.reader import Reader
from mnist_seq.run_dir import Run


@pytest.fixture(scope="session")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, exported."""
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    folder.mkdir()
    model, card = weights.load(tiny_run.path)
    images = mnist_seq.scenes("grid", "data.digits=uci", split="val")[:50].images
    release_scores = release_check.compute_release_scores(model, card)
    assert export_weights("tiny", model, card, folder, tiny_run, release_scores, images) == 0
    return folder


@pytest.fixture
def scene_image() -> np.ndarray:
    """A scene of real digits; H W, uint8, light on dark."""
    return mnist_seq.scenes("grid", "data.digits=uci", split="test")[3].images[0, 0].numpy()


@pytest.fixture
def reader(tiny_run: Run) -> Reader:
    return mnist_seq.load(tiny_run.path)
