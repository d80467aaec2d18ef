from pathlib import Path

import pytest
import torch

from mnist_seq.data import digits
from tests.conftest import write_mnist


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for data sets, and files of ours in place of the published ones."""
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path))
    monkeypatch.setattr(digits, "_SHA256", {})
    return tmp_path


def test_pools_are_disjoint_and_in_the_order_of_the_data_set(home: Path) -> None:
    write_mnist(home)
    pools = digits.load("mnist").pools
    assert {split: (int(pool.source_indices[0]), len(pool)) for split, pool in pools.items()} == {
        "train": (0, 50),
        "val": (50, 10),
        "test": (60, 20),
    }


def test_the_full_pool_trains_on_val_and_has_none(home: Path) -> None:
    write_mnist(home)
    pools = digits.load("mnist", "full").pools
    assert {split: len(pool) for split, pool in pools.items()} == {"train": 60, "test": 20}


def test_uci_digits_look_like_mnist() -> None:
    loaded = digits.load("uci")
    assert "NOT MNIST" in loaded.notice
    images = torch.cat([pool.images for pool in loaded.pools.values()])
    assert images.shape == (1797, 28, 28)
    assert images.dtype == torch.uint8
    assert images[:, :4].max() == images[:, :, -4:].max() == 0, "four pixels of margin"
    assert images.amax((1, 2)).min() > 150
    for pool in loaded.pools.values():
        assert set(pool.labels.tolist()) == set(range(10))


@pytest.mark.parametrize("damage", ["cut", "wrong", "gone"])
def test_a_damaged_file_is_named_and_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("MNIST_SEQ_DATA", str(tmp_path))
    path = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    if damage == "gone":
        path.unlink()
    for source in ("mnist", "auto"):
        with pytest.raises(ValueError, match="train-images-idx3-ubyte") as refused:
            digits.load(source)
        assert "\n" not in str(refused.value)


def test_a_data_set_without_published_checksums_is_refused_by_folder(home: Path) -> None:
    path = write_mnist(home) / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="no readable mnist"):
        digits.load("mnist")


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.digits=roman .*qmnist"):
        digits.load("roman")
