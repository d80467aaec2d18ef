"""Weights are loaded as they were saved, from anywhere, and never run code."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import mnist_seq
from mnist_seq.errors import UserError
from mnist_seq.inference import weights
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from tests.conftest import stirred, tiny_models


@pytest.mark.parametrize("name", tiny_models())
def test_saved_weights_load_equal(name: str, tmp_path: Path) -> None:
    spec = mnist_seq.scenes("grid", "data.digits=uci").spec
    model = stirred(build(tiny_models()[name], spec))
    weights.save(model, tmp_path / "weights.safetensors", note="x")
    loaded, card = weights.load(tmp_path)
    assert card["note"] == "x"
    assert loaded.spec == spec
    images = torch.rand(2, 1, 56, 56)
    assert torch.equal(loaded.embed(images), model.embed(images))
    assert torch.equal(loaded.read(images).digits, model.read(images).digits)


def test_card_of_another_vocabulary_is_rejected() -> None:
    with pytest.raises(UserError, match="weights for a different vocabulary"):
        weights.build_from_card({"model": {}, "spec": {}, "vocabulary": ["a"]})


def test_moved_run_loads_from_its_directory_its_weights_and_its_checkpoint(
    tiny_run: Run, tmp_path: Path, scene_image: np.ndarray
) -> None:
    moved = shutil.copytree(tiny_run.path, tmp_path / "moved")
    paths = [moved, moved / "weights.safetensors", moved / "checkpoints/last.ckpt"]
    readings = [mnist_seq.load(path).read(scene_image) for path in paths]
    assert readings[0] == readings[1] == readings[2]


def test_weights_that_do_not_match_the_checksum_are_rejected(exported: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(exported, tmp_path / "copy")
    model, _ = weights.load(exported)
    path = copy / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # one bit of one weight
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its SHA-256 differs") as refused:
        mnist_seq.load(copy)
    assert "\n" not in str(refused.value)
    weights.save(model, path)
    mnist_seq.load(copy)


class Payload:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[attr-defined, return-value]


def test_loading_never_runs_code(tmp_path: Path) -> None:
    payload = Payload()
    payload.path = str(tmp_path / "created")  # type: ignore[attr-defined]
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(payload))
    torch.save({"state_dict": {}, "model_card": payload}, tmp_path / "zipped.ckpt")
    for name in ("evil.ckpt", "zipped.ckpt"):
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint"):
            mnist_seq.load(tmp_path / name)
    assert not (tmp_path / "created").exists()


def test_damaged_or_missing_files_are_rejected_with_the_reason(tiny_run: Run, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_run.path, tmp_path / "run")
    card = json.loads((moved / "model.json").read_text())
    cases: list[tuple[dict[str, object], str]] = [
        (card | {"vocabulary": ["a", "b"]}, "a different vocabulary"),
        (card | {"model": card["model"] | {"dim": 32}}, "another shape"),
        (card | {"model": card["model"] | {"name": "perceptron"}}, "model.name=perceptron"),
        ({"model": {}}, "lacks spec, vocabulary"),
    ]
    for changed, problem in cases:
        (moved / "model.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=problem) as refused:
            mnist_seq.load(moved)
        assert "\n" not in str(refused.value)
    (moved / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match="model card"):
        mnist_seq.load(moved)
    (moved / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a safetensors file"):
        mnist_seq.load(moved)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        mnist_seq.load(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="neither"):
        mnist_seq.load(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="no model card"):
        mnist_seq.load(tmp_path / "other.ckpt")
