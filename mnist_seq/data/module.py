"""The LightningDataModule: hands out the ids of scenes, and renders them on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from mnist_seq.config import DataConfig, Spec
from mnist_seq.data import digits, scenes


class Ids(NamedTuple):
    """A batch before it is rendered."""

    split: str
    ids: Tensor


class IdStream:
    """Batches of consecutive ids, each rank its own; `endless` streams go on from epoch to epoch with fresh ids.

    Its state is the number of batches handed out, so that a resumed run goes on with the next one.
    """

    def __init__(self, split: str, batch_size: int, scenes: int, rank: int, ranks: int, endless: bool = False) -> None:
        self.split, self.batch_size, self.scenes = split, batch_size, scenes
        self.rank, self.ranks, self.endless = rank, ranks, endless
        self.handed_out = 0

    def __len__(self) -> int:
        share = self.batch_size * self.ranks
        if self.endless:
            return max(1, self.scenes // share)
        left = self.scenes % share
        return self.scenes // share + (left > self.rank * self.batch_size)

    def __iter__(self) -> Iterator[Ids]:
        begin = self.handed_out if self.endless else 0
        end = (begin // len(self) + 1) * len(self) if self.endless else len(self)
        for batch in range(begin, end):
            self.handed_out = batch + 1
            first = (batch * self.ranks + self.rank) * self.batch_size
            last = first + self.batch_size
            yield Ids(self.split, torch.arange(first, last if self.endless else min(last, self.scenes)))

    def state_dict(self) -> dict[str, int]:
        return {"handed_out": self.handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.handed_out = state["handed_out"]


class SceneData(L.LightningDataModule):
    """Scenes of one family: fresh ones to train on, fixed ones for val and test.

    An epoch is as many scenes as there are digits in the training pool; no scene is ever seen twice.
    """

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.digits: digits.Digits
        self.sets: dict[str, scenes.SceneSet] = {}

    @property
    def spec(self) -> Spec:
        """The shape of the problem, for the model."""
        return scenes.spec(self.config)

    def prepare_data(self) -> None:
        if not self.sets:
            digits.load(self.config.digits, self.config.pool)

    def setup(self, stage: str = "fit") -> None:
        if self.sets:
            return
        self.digits = digits.load(self.config.digits, self.config.pool)
        for split, pool in self.digits.pools.items():
            seed = self.seed if split == "train" else self.config.scene_seed
            self.sets[split] = scenes.SceneSet(self.config, pool, seed)

    def train_dataloader(self) -> IdStream:
        return self._stream("train", len(self.digits.pools["train"]), endless=True)

    def val_dataloader(self) -> IdStream | list[IdStream]:
        return self._stream("val", self.config.val_scenes) if "val" in self.sets else []

    def test_dataloader(self) -> IdStream:
        return self._stream("test", scenes.TEST_SCENES)

    def predict_dataloader(self) -> IdStream:
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not isinstance(batch, Ids):
            return batch
        if batch.ids.device.type == "mps":  # no wrapping 64-bit products there
            return self.sets[batch.split].render(batch.ids.cpu()).to(batch.ids.device)
        return self.sets[batch.split].render(batch.ids)

    def _stream(self, split: str, number: int, endless: bool = False) -> IdStream:
        trainer = self.trainer
        rank, ranks = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        size = self.config.batch_size if endless else max(self.config.batch_size, 500)
        return IdStream(split, size, number, rank, ranks, endless)
