"""The LightningDataModule: hands out the ids of scenes, and renders them on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from mnist_seq.config import DataConfig, Spec
from mnist_seq.config.validation import check
from mnist_seq.data import datasets, rng
from mnist_seq.data.datasets import SceneDataset
from mnist_seq.errors import UserError


class SceneIds(NamedTuple):
    """A batch before it is rendered."""

    split: str
    ids: Tensor


class IdLoader:
    """Batches of ids, each rank its own.

    `once`: every scene once an epoch, in order. Otherwise batches go on from epoch to epoch: with fresh ids, or, given
    the seed of a `shuffle`, with each scene once an epoch in an order of that epoch's own. What Lightning takes for an
    epoch is a whole number of optimiser steps then, since it steps at the end of each, and would cut an accumulation.

    Its state is the number of batches handed out, so that a resumed run goes on with the next one.
    """

    def __init__(
        self,
        split: str,
        batch_size: int,
        num_scenes: int,
        rank: int,
        world_size: int,
        finite: bool = True,
        shuffle_seed: int | None = None,
        accumulate_grad_batches: int = 1,
    ) -> None:
        self.split, self.batch_size, self.num_scenes = split, batch_size, num_scenes
        self.rank, self.world_size, self.finite, self.shuffle_seed = rank, world_size, finite, shuffle_seed
        self.accumulate_grad_batches = accumulate_grad_batches
        self.num_yielded = 0

    def __len__(self) -> int:
        share = self.batch_size * self.world_size
        if not self.finite:
            return max(1, self.num_scenes // (share * self.accumulate_grad_batches)) * self.accumulate_grad_batches
        left = self.num_scenes % share
        return self.num_scenes // share + (left > self.rank * self.batch_size)

    def __iter__(self) -> Iterator[SceneIds]:
        begin = 0 if self.finite else self.num_yielded
        end = len(self) if self.finite else (begin // len(self) + 1) * len(self)
        for batch in range(begin, end):
            self.num_yielded = batch + 1
            first = (batch * self.world_size + self.rank) * self.batch_size
            last = first + self.batch_size
            ids = torch.arange(first, min(last, self.num_scenes) if self.finite else last)
            yield SceneIds(self.split, ids if self.shuffle_seed is None else self._shuffle_ids(ids, self.shuffle_seed))

    def _shuffle_ids(self, places: Tensor, seed: int) -> Tensor:
        """The scenes at these places of an endless row of epochs, each in an order of its own."""
        epochs = places // self.num_scenes
        ids = torch.empty_like(places)
        for epoch in epochs.unique().tolist():
            ids[epochs == epoch] = _epoch_permutation(seed, epoch, self.num_scenes)[
                places[epochs == epoch] % self.num_scenes
            ]
        return ids

    def state_dict(self) -> dict[str, int]:
        return {"num_yielded": self.num_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.num_yielded = state["num_yielded"]


class SceneDataModule(L.LightningDataModule):
    """The scenes of a config: fresh or fixed ones to train on, fixed ones for val and test."""

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.source, self.notice, self.train_includes_val = config.digits, "", False
        self.datasets: dict[str, SceneDataset] = {}

    @property
    def spec(self) -> Spec:
        """The shape of the problem, for the model."""
        return datasets.spec(self.config)

    def prepare_data(self) -> None:
        if not self.datasets:
            datasets.load(self.config)

    def setup(self, stage: str = "fit") -> None:
        """Raises ValueError, FileNotFoundError or ConnectionError: digits or a folder that cannot be had."""
        if not self.datasets:
            loaded = datasets.load(self.config, self.seed)
            if "train" not in loaded.splits:
                raise UserError(
                    f"data.path={vars(self.config)['path']} has no train split: only {', '.join(loaded.splits)}"
                )
            self.source, self.notice, self.datasets = loaded.source, loaded.notice, loaded.splits
            self.train_includes_val = loaded.train_includes_val

    def train_dataloader(self) -> IdLoader:
        train = self.datasets["train"]
        shuffle = self.seed if train.fixed else None
        return self._dataloader(
            "train", self.config.batch_size, train.scenes_per_epoch, finite=False, shuffle_seed=shuffle
        )

    def val_dataloader(self) -> IdLoader | list[IdLoader]:
        return self._eval_dataloader("val") if "val" in self.datasets else []

    def test_dataloader(self) -> IdLoader:
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> IdLoader:
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not isinstance(batch, SceneIds):
            return batch
        if batch.ids.device.type == "mps":  # no wrapping 64-bit products there
            return self.datasets[batch.split].render(batch.ids.cpu()).to(batch.ids.device)
        return self.datasets[batch.split].render(batch.ids)

    def _eval_dataloader(self, split: str) -> IdLoader:
        """Every rank gets a batch: one without any would not wait for the others where they count together."""
        scenes, ranks = len(self.datasets[split]), self.trainer.world_size if self.trainer else 1
        check(
            scenes >= ranks,
            f"{scenes} scenes of {split} are fewer than the {ranks} processes that share them: "
            "choose more data.val_scenes, or fewer trainer.devices",
        )
        return self._dataloader(split, min(max(self.config.batch_size, 500), scenes // ranks), scenes)

    def _dataloader(
        self, split: str, batch_size: int, num_scenes: int, finite: bool = True, shuffle_seed: int | None = None
    ) -> IdLoader:
        trainer = self.trainer
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        accumulated = trainer.accumulate_grad_batches if trainer and not finite else 1
        return IdLoader(split, batch_size, num_scenes, rank, ranks, finite, shuffle_seed, accumulated)


@lru_cache(maxsize=2)
def _epoch_permutation(seed: int, epoch: int, scenes: int) -> Tensor:
    return rng.bits(rng.key(seed, "order", str(epoch)), torch.arange(scenes), 1)[:, 0].argsort(stable=True)
