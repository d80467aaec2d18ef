"""Exports: complete or absent, resumable, and equal to the scenes that they were made from."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch

from mnist_seq.config import FolderConfig
from mnist_seq.data import datasets, export_dataset
from mnist_seq.data.datasets import SyntheticDataset
from tests.data.preset_configs import pool, preset

METADATA = {"family": "scatter", "protocol": "Digits.", "split": "test", "scenes": 1200, "data": {"family": "scatter"}}


def scatter_dataset() -> SyntheticDataset:
    return SyntheticDataset(preset("scatter"), pool("test"))


def export(target: Path, num_scenes: int = 1200, dataset: SyntheticDataset | None = None, **metadata: object) -> Path:
    dataset = scatter_dataset() if dataset is None else dataset
    for _ in export_dataset.write_dataset(dataset, num_scenes, METADATA | {"scenes": num_scenes} | metadata, target):
        pass
    return target


def test_exported_dataset_equals_the_scenes_that_it_was_made_from(tmp_path: Path) -> None:
    directory = export(tmp_path / "scenes")
    read = datasets.load_folder(FolderConfig(path=str(directory)))["test"][:1200]
    for field in ("images", "digits", "tokens", "counts", "boxes", "sources"):
        assert torch.equal(getattr(read, field), getattr(scatter_dataset()[:1200], field)), field
    assert sorted(path.name for path in directory.iterdir()) == [
        "README.md", "SHA256SUMS", "card.json", "images", "labels.jsonl",
    ]  # fmt: skip
    result = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=directory, check=False)
    assert result.returncode == 0
    files = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert {row.split("  ")[1] for row in (directory / "SHA256SUMS").read_text().splitlines()} == files - {"SHA256SUMS"}


def test_resumed_export_equals_uninterrupted_export(tmp_path: Path) -> None:
    target = tmp_path / "scenes"
    part = target.with_name("scenes.part")
    export_steps = export_dataset.write_dataset(scatter_dataset(), 1200, METADATA, target)
    assert next(export_steps) == 500
    export_steps.close()  # killed within the second shard
    assert not target.exists()
    (part / "images" / "00001").mkdir()
    (part / "images" / "00001" / "00000500.png").write_bytes(b"partial")
    first = part / "images" / "00000" / "00000000.png"
    modified = first.stat().st_mtime_ns
    assert list(export_dataset.write_dataset(scatter_dataset(), 1200, METADATA, target)) == [500, 1000, 1200]
    assert (target / "images" / "00000" / "00000000.png").stat().st_mtime_ns == modified, "not written again"
    assert not part.exists()
    uninterrupted = export(tmp_path / "uninterrupted")
    for path in uninterrupted.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (target / path.relative_to(uninterrupted)).read_bytes()


def test_export_killed_before_the_rename_is_renamed(tmp_path: Path) -> None:
    done = export(tmp_path / "scenes")
    (done / "shards").mkdir()
    done.rename(tmp_path / "scenes.part")
    assert list(export_dataset.write_dataset(scatter_dataset(), 1200, METADATA, done)) == []
    assert hashlib.sha256((done / "labels.jsonl").read_bytes()).hexdigest() in (done / "SHA256SUMS").read_text()
    assert not (done / "shards").exists()


def test_export_never_overwrites_anything(tmp_path: Path) -> None:
    directory = export(tmp_path / "scenes", 3)
    before = (directory / "labels.jsonl").stat().st_mtime_ns
    assert list(export_dataset.write_dataset(scatter_dataset(), 3, METADATA | {"scenes": 3}, directory)) == [3], (
        "it exists already"
    )
    assert (directory / "labels.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="is not empty"):
        export(directory, 4)
    next(export_dataset.write_dataset(scatter_dataset(), 1200, METADATA, tmp_path / "other"))
    with pytest.raises(ValueError, match="a partial export of another dataset"):
        export(tmp_path / "other", 1300)


def test_export_resumes_whatever_the_wording_of_the_protocol(tmp_path: Path) -> None:
    target = tmp_path / "scenes"
    next(export_dataset.write_dataset(scatter_dataset(), 1200, METADATA, target))
    reworded = METADATA | {"protocol": "Scattered digits."}
    assert list(export_dataset.write_dataset(scatter_dataset(), 1200, reworded, target)) == [500, 1000, 1200]
    assert json.loads((target / "card.json").read_text())["protocol"] == "Scattered digits."
