"""Pools are disjoint, corrupt files are never used, and every result says which digits it shows."""

from pathlib import Path

import pytest
import torch

from mnist_seq.data import sources
from tests.conftest import write_mnist


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory, in which generated files pass for the published ones."""
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "_MNIST_SHA256", {})
    return tmp_path


def test_pools_are_disjoint_and_in_dataset_order(data_dir: Path) -> None:
    write_mnist(data_dir)
    pools = sources.load("mnist").pools
    assert {split: (int(pool.source_indices[0]), len(pool)) for split, pool in pools.items()} == {
        "train": (0, 50),
        "val": (50, 10),
        "test": (60, 20),
    }


def test_full_pool_trains_on_val_and_has_no_val_split(data_dir: Path) -> None:
    write_mnist(data_dir)
    pools = sources.load("mnist", "full").pools
    assert {split: len(pool) for split, pool in pools.items()} == {"train": 60, "test": 20}


def test_uci_digits_look_like_mnist() -> None:
    loaded = sources.load("uci")
    assert "NOT MNIST" in loaded.notice
    images = torch.cat([pool.images for pool in loaded.pools.values()])
    assert images.shape == (1797, 28, 28)
    assert images.dtype == torch.uint8
    assert images[:, :4].max() == images[:, :, -4:].max() == 0, "four pixels of margin"
    assert images.amax((1, 2)).min() > 150
    for pool in loaded.pools.values():
        assert set(pool.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("damage", ["cut", "wrong", "gone"])
def test_corrupt_file_is_named_and_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path))
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "gone":
        path.unlink()
    for source in ("mnist", "auto"):
        with pytest.raises(ValueError, match="train-images-idx3-ubyte") as error:
            sources.load(source)
        assert "\n" not in str(error.value)


def test_unreadable_dataset_without_checksums_raises_with_its_directory(data_dir: Path) -> None:
    path = write_mnist(data_dir) / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="does not contain a readable mnist dataset"):
        sources.load("mnist")


def test_unknown_source_raises() -> None:
    with pytest.raises(ValueError, match=r"data.digits=roman .*qmnist"):
        sources.load("roman")


def test_offline_source_is_uci_unless_the_files_are_there(data_dir: Path) -> None:
    assert sources.resolve_offline("auto") == sources.resolve_offline("mnist") == "uci"
    write_mnist(data_dir)
    assert sources.resolve_offline("auto") == sources.resolve_offline("mnist") == "mnist"
    assert sources.resolve_offline("kmnist") == sources.resolve_offline("uci") == "uci"
