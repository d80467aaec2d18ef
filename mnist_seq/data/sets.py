"""Sets of scenes: lazy sequences that render what is asked for, of every split that a config offers.

Shapes   B scenes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mnist_seq.config import DataConfig, FolderConfig, Spec
from mnist_seq.data import digits, folder
from mnist_seq.data.digits import Pool
from mnist_seq.data.scenes import Scenes, margins, render

TEST_SCENES = 10_000
"""Scenes of a test set, unless another number is asked for."""
_ENDLESS = 2**31 - 1


class SceneSet(Protocol):
    """Scenes of one split, rendered when asked for."""

    split: str
    spec: Spec
    epoch: int
    """Scenes that are taken for an epoch."""
    fixed: bool
    """The same scenes every epoch, not fresh ones."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int | slice) -> Scenes:
        """One scene as a batch of one, or a batch.

        Raises:
            IndexError: beyond the end.
        """
        ...

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> Scenes:
        """The scenes with these ids.

        Args:
            ids: B, integers in any order.
            device: where to render; by default where the ids are.
        """
        ...

    def margins(self, ids: Tensor) -> Tensor | None:
        """By how many pixels the reading order of the scenes with these ids is decided; B, None where none can say."""
        ...


class Synthesised:
    """Scenes of a family: `[i]` and `[a:b]` render just those, on the CPU; `render` any ids on any device.

    Digits are distorted in the training split alone.
    """

    def __init__(self, config: DataConfig, pool: Pool, seed: int = 0) -> None:
        self.config, self.seed, self.split = config, seed, pool.split
        self.spec = config.spec
        self.fixed = config.fixed is not None and self.split == "train"
        self.epoch = config.fixed or len(pool)
        self.pool = pool.resized(config.digit_size)
        self._pools = {torch.device("cpu"): self.pool}

    def __len__(self) -> int:
        return {"train": self.config.fixed or _ENDLESS, "val": self.config.val_scenes}.get(self.split, TEST_SCENES)

    def __getitem__(self, index: int | slice) -> Scenes:
        return self.render(folder.places(index, len(self)))

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> Scenes:
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        return render(ids, self.config, self._pool(ids.device), self.seed, self.split == "train")

    def margins(self, ids: Tensor) -> Tensor | None:
        return margins(ids, self.config, self.pool, self.seed)

    def _pool(self, device: torch.device) -> Pool:
        if device not in self._pools:
            self._pools[device] = self._pools[torch.device("cpu")].to(device)
        return self._pools[device]


@dataclass(frozen=True)
class Sets:
    """The sets of a config, and whose digits they show."""

    source: str
    """Of the digits."""
    notice: str
    """What whoever sees a result must be told; empty for MNIST."""
    splits: dict[str, SceneSet]
    teaches_val: bool
    """Whether digits that are kept for validation elsewhere are among those to train on."""


def spec(config: DataConfig) -> Spec:
    """The shape of the problem that a config's scenes pose.

    Raises:
        FileNotFoundError, ValueError: a folder that holds no readable scenes.
    """
    return folder.spec(config.path) if isinstance(config, FolderConfig) else config.spec


def load(config: DataConfig, seed: int = 0) -> Sets:
    """Every split's scenes.

    Args:
        seed: of fresh training scenes; val, test and fixed ones follow `config.scene_seed`.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: digits or a folder that cannot be had.
    """
    if isinstance(config, FolderConfig):
        splits = folder.load(config.path, whole=config.pool == "full")
        card = folder.card(config.path)
        full = "full" in (config.pool, card.get("data", {}).get("pool"))
        return Sets(card.get("digits", "folder"), card.get("notice", ""), dict(splits), full)
    source = digits.load(config.digits, config.pool)
    fresh = config.fixed is None
    seeds = {split: seed if split == "train" and fresh else config.scene_seed for split in source.pools}
    synthesised = {split: Synthesised(config, pool, seeds[split]) for split, pool in source.pools.items()}
    return Sets(source.source, source.notice, dict(synthesised), config.pool == "full")
