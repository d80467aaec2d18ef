"""Where single digits come from, and their disjoint train, val and test pools: of MNIST 50,000, 10,000 and 10,000."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.config.validation import check_choice
from mnist_seq.data import download
from mnist_seq.errors import DownloadError, UserError

log = logging.getLogger(__name__)

MNIST_SIZE = 28
"""Side of a digit's frame, pixels."""
_VAL_DIVISOR = 6
"""One training image in so many is for validation: the last ones."""

NOTICES = {"uci": "NOT MNIST: the 1,797 UCI digits that scikit-learn ships"}


@dataclass(frozen=True)
class Pool:
    """The digits that one split may show."""

    split: str
    images: Tensor
    """P S S, uint8, ink on 0."""
    labels: Tensor
    """P, int64."""
    source_indices: Tensor
    """P, int64: place in the data set, its training images first."""
    boxes: Tensor
    """P 4, int64: the ink's x0 y0 x1 y1, pixels, half open."""
    clutter: Tensor
    """Q S S, uint8: the images that clutter may be cut from, those of train and val whatever the split."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digit_size(self) -> int:
        """Of a digit's frame, pixels."""
        return self.images.shape[-1]

    @cached_property
    def by_class(self) -> Tensor:
        """P, int64: places in the pool, those of the zeros first."""
        return self.labels.argsort(stable=True)

    @cached_property
    def class_sizes(self) -> Tensor:
        """10, int64: digits of each class."""
        return torch.bincount(self.labels, minlength=10)

    def to(self, device: torch.device) -> Pool:
        tensors = (self.images, self.labels, self.source_indices, self.boxes, self.clutter)
        return Pool(self.split, *(tensor.to(device) for tensor in tensors))

    def resized(self, digit_size: int) -> Pool:
        """The same digits in frames of another side, resampled with antialiasing."""
        if digit_size == self.digit_size:
            return self
        parts = [
            F.interpolate(part[:, None].float(), size=(digit_size, digit_size), mode="bilinear", antialias=True)[:, 0]
            for part in self.images.split(4096)
        ]
        images = torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])
        return replace(self, images=images, boxes=ink_boxes(images))


@dataclass(frozen=True)
class DigitSource:
    """A source of digits and its pools."""

    name: str
    pools: dict[str, Pool]

    @property
    def notice(self) -> str:
        """What whoever sees a result must be told; empty for MNIST."""
        return "" if self.name == "mnist" else NOTICES.get(self.name, f"NOT MNIST: {self.name}")


def load(source: str = "auto", pool: str = "split") -> DigitSource:
    """Digits of a source, downloaded where they are missing.

    Args:
        source: `auto` takes mnist, and uci (1,797 digits that scikit-learn ships) where mnist cannot be had.
        pool: `split` keeps the last sixth of the training images for validation, `full` trains on all.

    Raises:
        ValueError: an unknown source, or a damaged file, by name.
        ConnectionError: the files are neither there nor to be downloaded.
    """
    check_choice("data.digits", source, SOURCES)
    if source == "uci":
        return _load_uci(pool)
    if source != "auto":
        return _load_torchvision(source, pool)
    try:
        return _load_torchvision("mnist", pool)
    except DownloadError as problem:
        log.warning("%s: taking the digits that scikit-learn ships instead", problem)
        return _load_uci(pool)


def data_dir() -> Path:
    """Where data sets lie: $MNIST_SEQ_DATA, else the user's cache."""
    if given := os.environ.get("MNIST_SEQ_DATA"):
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("mnist_seq")


def ink_boxes(digit_images: Tensor) -> Tensor:
    """The smallest boxes that hold all ink.

    Args:
        glyphs: M S S, uint8.

    Returns:
        M 4, int64: x0 y0 x1 y1, half open; zeros where there is no ink.
    """
    edges = []
    for inked in (digit_images.amax(1) > 0, digit_images.amax(2) > 0):  # by column, then by row
        first = inked.byte().argmax(1)
        last = inked.shape[1] - inked.flip(1).byte().argmax(1)
        edges.append(torch.stack([first, last], -1) * inked.any(1, keepdim=True))
    return torch.stack(edges, -1).flatten(1)


# ------------------------------------------------------------------------------------------------------- torchvision

_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Of MNIST's files as LeCun, Cortes and Burges published them, unpacked."""

TORCHVISION_DATASETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("MNIST", {}),
    "emnist": ("EMNIST", {"split": "digits"}),
    "kmnist": ("KMNIST", {}),
    "fashion_mnist": ("FashionMNIST", {}),
    "qmnist": ("QMNIST", {"compat": True}),
}
"""Classes, after which their folders are called too, and what they are asked for."""
SOURCES = ("auto", "uci", *TORCHVISION_DATASETS)


def _load_torchvision(source: str, pool: str) -> DigitSource:
    import torchvision.datasets

    name, wanted = TORCHVISION_DATASETS[source]
    data_set, raw = getattr(torchvision.datasets, name), data_dir() / name / "raw"

    def unpack(root: Path) -> None:
        for training in (True, False):
            data_set(str(root), train=training, download=True, **wanted)

    if not download.is_downloaded(raw):
        download.download(source, raw, download.archives(data_set), unpack)
    if source == "mnist":
        _verify_checksums(raw)
    parts = []
    for training in (True, False):
        try:
            part = data_set(str(data_dir()), train=training, **wanted)
        except Exception as problem:  # torchvision reports damage by assertions, ValueErrors and RuntimeErrors alike
            raise UserError(f"{raw} holds no readable {source}: delete that folder to download it again") from problem
        images = part.data.to(torch.uint8)
        labels = part.targets if part.targets.ndim == 1 else part.targets[:, 0]
        parts.append((images.mT.contiguous() if source == "emnist" else images, labels.long()))
    (images, labels), (test_images, test_labels) = parts
    held_out = len(images) // _VAL_DIVISOR
    order = torch.arange(len(images) + len(test_images))
    sizes = [len(images) - held_out, held_out, len(test_images)]
    return DigitSource(
        source, _split_pools(torch.cat([images, test_images]), torch.cat([labels, test_labels]), order, sizes, pool)
    )


def _verify_checksums(raw: Path) -> None:
    for name, published in _SHA256.items():
        path = raw / name
        if not path.is_file():
            raise UserError(f"{path} is missing: delete {raw} to download MNIST again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != published:
            raise UserError(f"{path} is damaged (not the published file): delete {raw} to download MNIST again")


# -------------------------------------------------------------------------------------------------------- scikit-learn


def _load_uci(pool: str) -> DigitSource:
    """Alpaydin & Kaynak's 8x8 digits, resampled to 20x20 in the middle of the frame, as MNIST's are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_digits
    shipped = load_digits()
    small = torch.from_numpy(np.asarray(shipped.images, dtype=np.float32))[:, None] * (255 / 16)
    large = F.interpolate(small, size=(20, 20), mode="bicubic", align_corners=False).clamp(0, 255)
    images = F.pad(large, (4, 4, 4, 4))[:, 0].round().to(torch.uint8)
    labels = torch.from_numpy(np.asarray(shipped.target, dtype=np.int64))
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    sizes = [len(labels) - 600, 300, 300]
    return DigitSource("uci", _split_pools(images, labels, order, sizes, pool))


def _split_pools(images: Tensor, labels: Tensor, order: Tensor, sizes: list[int], pool: str) -> dict[str, Pool]:
    """Cut the data set, in this order, into train, val and test."""
    train, val, _ = sizes
    images, labels, learnt = images[order], labels[order], train + val
    chosen = {"train": slice(train), "val": slice(train, learnt), "test": slice(learnt, None)}
    if pool == "full":
        chosen = {"train": slice(learnt), "test": slice(learnt, None)}
    boxes, clutter = ink_boxes(images), images[:learnt]  # views of one copy, however many pools
    return {name: Pool(name, images[at], labels[at], order[at], boxes[at], clutter) for name, at in chosen.items()}
