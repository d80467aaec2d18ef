"""Sets of scenes: lazy sequences that render what is asked for, of every split that a config offers.

Shapes   B scenes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mnist_seq.config import DataConfig, FolderConfig, Spec
from mnist_seq.data import digits, image_folder
from mnist_seq.data.digits import Pool
from mnist_seq.data.render import SceneBatch, order_margins, render

NUM_TEST_SCENES = 10_000
"""Scenes of a test set, unless another number is asked for."""
_INFINITE_LENGTH = 2**31 - 1


@runtime_checkable
class SceneDataset(Protocol):
    """Scenes of one split, rendered when asked for."""

    split: str
    spec: Spec
    scenes_per_epoch: int
    """Scenes that are taken for an epoch."""
    fixed: bool
    """The same scenes every epoch, not fresh ones."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int | slice) -> SceneBatch:
        """One scene as a batch of one, or a batch.

        Raises:
            IndexError: beyond the end.
        """
        ...

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> SceneBatch:
        """The scenes with these ids.

        Args:
            ids: B, integers in any order.
            device: where to render; by default where the ids are.
        """
        ...

    def order_margins(self, ids: Tensor) -> Tensor | None:
        """By how many pixels the reading order of the scenes with these ids is decided; B, None where none can say."""
        ...


class SyntheticDataset:
    """Scenes of a family: `[i]` and `[a:b]` render just those, on the CPU; `render` any ids on any device.

    Digits are distorted in the training split alone.
    """

    def __init__(self, config: DataConfig, pool: Pool, seed: int = 0) -> None:
        self.config, self.seed, self.split = config, seed, pool.split
        self.spec = config.spec
        self.fixed = config.num_train_scenes is not None and self.split == "train"
        self.scenes_per_epoch = config.num_train_scenes or len(pool)
        self.pool = pool.resized(config.digit_size)
        self._pools = {torch.device("cpu"): self.pool}

    def __len__(self) -> int:
        return {"train": self.config.num_train_scenes or _INFINITE_LENGTH, "val": self.config.val_scenes}.get(
            self.split, NUM_TEST_SCENES
        )

    def __getitem__(self, index: int | slice) -> SceneBatch:
        return self.render(image_folder.resolve_indices(index, len(self)))

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> SceneBatch:
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        return render(ids, self.config, self._pool(ids.device), self.seed, self.split == "train")

    def order_margins(self, ids: Tensor) -> Tensor | None:
        return order_margins(ids, self.config, self.pool, self.seed)

    def _pool(self, device: torch.device) -> Pool:
        if device not in self._pools:
            self._pools[device] = self._pools[torch.device("cpu")].to(device)
        return self._pools[device]


@dataclass(frozen=True)
class DatasetSplits:
    """The sets of a config, and whose digits they show."""

    source: str
    """Of the digits."""
    notice: str
    """What whoever sees a result must be told; empty for MNIST."""
    splits: dict[str, SceneDataset]
    train_includes_val: bool
    """Whether digits that are kept for validation elsewhere are among those to train on."""


def spec(config: DataConfig) -> Spec:
    """The shape of the problem that a config's scenes pose.

    Raises:
        FileNotFoundError, ValueError: a folder that holds no readable scenes.
    """
    return image_folder.spec(config.path) if isinstance(config, FolderConfig) else config.spec


def load(config: DataConfig, seed: int = 0) -> DatasetSplits:
    """Every split's scenes.

    Args:
        seed: of fresh training scenes; val, test and fixed ones follow `config.scene_seed`.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: digits or a folder that cannot be had.
    """
    if isinstance(config, FolderConfig):
        splits = image_folder.load(config.path, train_on_val=config.pool == "full")
        card = image_folder.read_card(config.path)
        full = "full" in (config.pool, card.get("data", {}).get("pool"))
        return DatasetSplits(card.get("digits", "folder"), card.get("notice", ""), dict(splits), full)
    source = digits.load(config.digits, config.pool)
    fresh = config.num_train_scenes is None
    seeds = {split: seed if split == "train" and fresh else config.scene_seed for split in source.pools}
    synthesised = {split: SyntheticDataset(config, pool, seeds[split]) for split, pool in source.pools.items()}
    return DatasetSplits(source.name, source.notice, dict(synthesised), config.pool == "full")
