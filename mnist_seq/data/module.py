"""The LightningDataModule: hands out the ids of scenes, and renders them on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from mnist_seq.config import DataConfig, Spec
from mnist_seq.config.law import require
from mnist_seq.data import rng, sets
from mnist_seq.data.sets import SceneSet
from mnist_seq.errors import UserError


class Ids(NamedTuple):
    """A batch before it is rendered."""

    split: str
    ids: Tensor


class IdStream:
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
        scenes: int,
        rank: int,
        ranks: int,
        once: bool = True,
        shuffle: int | None = None,
        batches_per_step: int = 1,
    ) -> None:
        self.split, self.batch_size, self.scenes = split, batch_size, scenes
        self.rank, self.ranks, self.once, self.shuffle = rank, ranks, once, shuffle
        self.batches_per_step = batches_per_step
        self.handed_out = 0

    def __len__(self) -> int:
        share = self.batch_size * self.ranks
        if not self.once:
            return max(1, self.scenes // (share * self.batches_per_step)) * self.batches_per_step
        left = self.scenes % share
        return self.scenes // share + (left > self.rank * self.batch_size)

    def __iter__(self) -> Iterator[Ids]:
        begin = 0 if self.once else self.handed_out
        end = len(self) if self.once else (begin // len(self) + 1) * len(self)
        for batch in range(begin, end):
            self.handed_out = batch + 1
            first = (batch * self.ranks + self.rank) * self.batch_size
            last = first + self.batch_size
            ids = torch.arange(first, min(last, self.scenes) if self.once else last)
            yield Ids(self.split, ids if self.shuffle is None else self._shuffled(ids, self.shuffle))

    def _shuffled(self, places: Tensor, seed: int) -> Tensor:
        """The scenes at these places of an endless row of epochs, each in an order of its own."""
        epochs = places // self.scenes
        ids = torch.empty_like(places)
        for epoch in epochs.unique().tolist():
            ids[epochs == epoch] = _order(seed, epoch, self.scenes)[places[epochs == epoch] % self.scenes]
        return ids

    def state_dict(self) -> dict[str, int]:
        return {"handed_out": self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.handed_out = state["handed_out"]


class SceneData(L.LightningDataModule):
    """The scenes of a config: fresh or fixed ones to train on, fixed ones for val and test."""

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.source, self.notice, self.teaches_val = config.digits, "", False
        self.sets: dict[str, SceneSet] = {}

    @property
    def spec(self) -> Spec:
        """The shape of the problem, for the model."""
        return sets.spec(self.config)

    def prepare_data(self) -> None:
        if not self.sets:
            sets.load(self.config)

    def setup(self, stage: str = "fit") -> None:
        """Raises ValueError, FileNotFoundError or ConnectionError: digits or a folder that cannot be had."""
        if not self.sets:
            loaded = sets.load(self.config, self.seed)
            if "train" not in loaded.splits:
                raise UserError(
                    f"data.path={vars(self.config)['path']} has no train split: only {', '.join(loaded.splits)}"
                )
            self.source, self.notice, self.sets = loaded.source, loaded.notice, loaded.splits
            self.teaches_val = loaded.teaches_val

    def train_dataloader(self) -> IdStream:
        train = self.sets["train"]
        shuffle = self.seed if train.fixed else None
        return self._stream("train", self.config.batch_size, train.epoch, once=False, shuffle=shuffle)

    def val_dataloader(self) -> IdStream | list[IdStream]:
        return self._reading("val") if "val" in self.sets else []

    def test_dataloader(self) -> IdStream:
        return self._reading("test")

    def predict_dataloader(self) -> IdStream:
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not isinstance(batch, Ids):
            return batch
        if batch.ids.device.type == "mps":  # no wrapping 64-bit products there
            return self.sets[batch.split].render(batch.ids.cpu()).to(batch.ids.device)
        return self.sets[batch.split].render(batch.ids)

    def _reading(self, split: str) -> IdStream:
        """Every rank gets a batch: one without any would not wait for the others where they count together."""
        scenes, ranks = len(self.sets[split]), self.trainer.world_size if self.trainer else 1
        require(
            scenes >= ranks,
            f"{scenes} scenes of {split} are fewer than the {ranks} processes that share them: "
            "choose more data.val_scenes, or fewer trainer.devices",
        )
        return self._stream(split, min(max(self.config.batch_size, 500), scenes // ranks), scenes)

    def _stream(self, split: str, size: int, number: int, once: bool = True, shuffle: int | None = None) -> IdStream:
        trainer = self.trainer
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        accumulated = trainer.accumulate_grad_batches if trainer and not once else 1
        return IdStream(split, size, number, rank, ranks, once, shuffle, accumulated)


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, scenes: int) -> Tensor:
    return rng.bits(rng.key(seed, "order", str(epoch)), torch.arange(scenes), 1)[:, 0].argsort(stable=True)
