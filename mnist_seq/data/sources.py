"""Where digits come from: MNIST and its relatives from torchvision, UCI digits from scikit-learn, cut into pools.

MNIST's training images 0..49,999 are the train pool, 50,000..59,999 the val pool, its 10,000 test images the test pool.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.config.validation import check_choice
from mnist_seq.data import download
from mnist_seq.data.digits import Pool, ink_boxes
from mnist_seq.errors import DownloadError, UserError

log = logging.getLogger(__name__)

TORCHVISION_DATASETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mnist": ("MNIST", {}),
    "emnist": ("EMNIST", {"split": "digits"}),
    "kmnist": ("KMNIST", {}),
    "fashion_mnist": ("FashionMNIST", {}),
    "qmnist": ("QMNIST", {"compat": True}),
}
"""Classes of torchvision.datasets, whose directories have the same names, and their arguments."""
NOT_DIGITS = ("kmnist", "fashion_mnist")
"""Sources whose classes are not digits."""
SOURCES = ("auto", "uci", *TORCHVISION_DATASETS)
NOTICES = {"mnist": "", "uci": "NOT MNIST: the 1,797 UCI digits included in scikit-learn"}
LICENSES = {
    "mnist": "MNIST is by Yann LeCun, Corinna Cortes and Christopher Burges, after NIST; CC BY-SA 3.0, and so is this",
    "uci": "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI; CC BY 4.0",
}
_VAL_DIVISOR = 6
"""One in six training images, the last ones, is for validation."""
_MNIST_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Checksums of MNIST as LeCun, Cortes and Burges published it, unpacked."""


@dataclass(frozen=True)
class DigitSource:
    """A source of digits and its pools."""

    name: str
    pools: dict[str, Pool]
    """By split: train, val and test, or train and test alone."""

    @property
    def notice(self) -> str:
        """Warning that every result must carry; empty for MNIST."""
        return NOTICES.get(self.name, f"NOT MNIST: {self.name}")


def load(source: str = "auto", pool: str = "split") -> DigitSource:
    """Load the digits of a source, downloading them if they are missing.

    Args:
        source: one of `SOURCES`; `auto` is MNIST, or UCI if MNIST cannot be downloaded.
        pool: `split` keeps the last sixth of the training images for validation, `full` trains on all of them.

    Raises:
        UserError: an unknown source, or a corrupt file.
        DownloadError: the files are missing and cannot be downloaded.
    """
    check_choice("data.digits", source, SOURCES)
    if source == "uci":
        return _load_uci(pool)
    try:
        return _load_torchvision("mnist" if source == "auto" else source, pool)
    except DownloadError as error:
        if source != "auto":
            raise
        log.warning("%s: falling back to the UCI digits included in scikit-learn", error)
        return _load_uci(pool)


def resolve_offline(source: str) -> str:
    """Return the source if its files are on this machine, else `uci`; download nothing."""
    source = "mnist" if source == "auto" else source
    is_local = source not in TORCHVISION_DATASETS or download.is_downloaded(_raw_dir(source))
    return source if is_local else "uci"


def data_dir() -> Path:
    """Return the directory of downloaded datasets: $MNIST_SEQ_DATA, else the user's cache directory."""
    if path := os.environ.get("MNIST_SEQ_DATA"):
        return Path(path).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("mnist_seq")


def _raw_dir(source: str) -> Path:
    """Where torchvision keeps the files of a dataset."""
    return data_dir() / TORCHVISION_DATASETS[source][0] / "raw"


def _load_torchvision(source: str, pool: str) -> DigitSource:
    import torchvision.datasets

    class_name, kwargs = TORCHVISION_DATASETS[source]
    dataset_class, raw_dir = getattr(torchvision.datasets, class_name), _raw_dir(source)

    def unpack(root: Path) -> None:
        for train in (True, False):
            dataset_class(str(root), train=train, download=True, **kwargs)

    if not download.is_downloaded(raw_dir):
        download.download(source, raw_dir, download.archives(dataset_class), unpack)
    if source == "mnist":
        _verify_checksums(raw_dir)
    try:
        parts = [dataset_class(str(data_dir()), train=train, **kwargs) for train in (True, False)]
    except Exception as error:  # torchvision reports damage by assertions, ValueErrors and RuntimeErrors alike
        raise UserError(
            f"{raw_dir} does not contain a readable {source} dataset: delete the directory to download it again"
        ) from error
    images = torch.cat([part.data.mT if source == "emnist" else part.data for part in parts]).to(torch.uint8)
    labels = torch.cat([part.targets for part in parts]).long().view(len(images), -1)[:, 0]  # QMNIST has more columns
    num_val = len(parts[0].data) // _VAL_DIVISOR
    sizes = (len(parts[0].data) - num_val, num_val)
    return DigitSource(source, _split_pools(images, labels, torch.arange(len(images)), sizes, pool))


def _verify_checksums(raw_dir: Path) -> None:
    for name, checksum in _MNIST_SHA256.items():
        path = raw_dir / name
        if not path.is_file():
            raise UserError(f"{path} is missing: delete {raw_dir} to download MNIST again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            raise UserError(f"{path} is corrupt (checksum mismatch): delete {raw_dir} to download MNIST again")


def _load_uci(pool: str) -> DigitSource:
    """Load the 8x8 digits of Alpaydin & Kaynak, resampled to 20x20 and centred in 28x28 as MNIST's are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_digits
    uci = load_digits()
    small = torch.from_numpy(np.asarray(uci.images, dtype=np.float32))[:, None] * (255 / 16)
    large = F.interpolate(small, size=(20, 20), mode="bicubic", align_corners=False).clamp(0, 255)
    images = F.pad(large, (4, 4, 4, 4))[:, 0].round().to(torch.uint8)
    labels = torch.from_numpy(np.asarray(uci.target, dtype=np.int64))
    indices = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    return DigitSource("uci", _split_pools(images, labels, indices, (len(labels) - 600, 300), pool))


def _split_pools(images: Tensor, labels: Tensor, indices: Tensor, sizes: tuple[int, int], pool: str) -> dict[str, Pool]:
    """Take images in the order of `indices`: the first for train, the next for val, the rest for test.

    Args:
        sizes: number of train and val digits.
        pool: `split`, or `full` to put the val digits into the train pool.
    """
    num_train, end = sizes[0], sum(sizes)
    images, labels = images[indices], labels[indices]
    slices = {"train": slice(num_train), "val": slice(num_train, end), "test": slice(end, None)}
    if pool == "full":
        slices = {"train": slice(end), "test": slice(end, None)}
    boxes, clutter = ink_boxes(images), images[:end]  # the pools are views of one copy
    return {
        split: Pool(split, images[part], labels[part], indices[part], boxes[part], clutter)
        for split, part in slices.items()
    }
