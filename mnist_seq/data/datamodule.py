"""The LightningDataModule: its loaders yield scene ids, and the training device renders them.

Shapes   B scenes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import lightning as L
import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import DataConfig, Spec
from mnist_seq.config.validation import check
from mnist_seq.data import datasets, rng
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.errors import UserError

_MIN_EVAL_BATCH_SIZE = 500
_PIXELS_PER_RENDER = 2**24
"""Pixels of the scenes that a GPU renders together: for one batch, its operations would wait for Python."""


class SceneIds(NamedTuple):
    """A batch before it is rendered, as a slice of several that are rendered together."""

    split: str
    ids: Int[Tensor, "B"]
    """Of all batches that are rendered together."""
    scenes: slice
    """Those of this batch."""
    first_batch: int
    """Index of the first batch that is rendered together with this one."""


@dataclass(eq=False)
class IdLoader:
    """Batches of scene ids for one rank.

    A finite loader yields every scene once per epoch, in order. Any other continues from epoch to epoch: with fresh
    ids, or, with a shuffle seed, with a permutation of the scenes for each epoch, under new ids if they vary. Its
    epochs are a whole number of optimizer steps long, because Lightning steps at the end of an epoch and would cut an
    accumulation short.

    The state is the number of batches yielded, so a resumed run continues with the next one.
    """

    split: str
    batch_size: int
    """Scenes per batch and rank."""
    num_scenes: int
    """Scenes per epoch, over all ranks."""
    rank: int
    world_size: int
    finite: bool = True
    shuffle_seed: int | None = None
    """None keeps the order of the ids."""
    varies: bool = False
    """Shuffled scenes get new ids in each epoch: `num_scenes` is added to them."""
    accumulate_grad_batches: int = 1
    """Batches per optimizer step."""
    batches_per_render: int = 1
    """Batches that are rendered together."""
    num_yielded: int = 0

    def __len__(self) -> int:
        global_batch_size = self.batch_size * self.world_size
        if not self.finite:
            scenes_per_step = global_batch_size * self.accumulate_grad_batches
            return max(1, self.num_scenes // scenes_per_step) * self.accumulate_grad_batches
        remainder = self.num_scenes % global_batch_size
        return self.num_scenes // global_batch_size + (remainder > self.rank * self.batch_size)

    def __iter__(self) -> Iterator[SceneIds]:
        start = 0 if self.finite else self.num_yielded
        end = len(self) if self.finite else (start // len(self) + 1) * len(self)
        for first in range(start - start % self.batches_per_render, end, self.batches_per_render):
            batches = [self._batch_ids(index) for index in range(first, min(first + self.batches_per_render, end))]
            ids, last = torch.cat(batches), 0
            for index, batch in enumerate(batches, first):
                last += len(batch)
                if index >= start:
                    self.num_yielded = index + 1
                    yield SceneIds(self.split, ids, slice(last - len(batch), last), first)

    def _batch_ids(self, batch_index: int) -> Tensor:
        first = (batch_index * self.world_size + self.rank) * self.batch_size
        last = first + self.batch_size
        ids = torch.arange(first, min(last, self.num_scenes) if self.finite else last)
        return ids if self.shuffle_seed is None else self._shuffle_ids(ids, self.shuffle_seed)

    def _shuffle_ids(self, positions: Tensor, seed: int) -> Tensor:
        """Map positions in the endless sequence of epochs to scene ids; each epoch has its own permutation."""
        epochs = positions // self.num_scenes
        ids = torch.empty_like(positions)
        for epoch in epochs.unique().tolist():
            permutation = _epoch_permutation(seed, epoch, self.num_scenes)
            ids[epochs == epoch] = permutation[positions[epochs == epoch] % self.num_scenes]
        return ids + epochs * self.num_scenes if self.varies else ids

    def state_dict(self) -> dict[str, int]:
        return {"num_yielded": self.num_yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.num_yielded = state["num_yielded"]


class SceneDataModule(L.LightningDataModule):
    """The datasets of a config: fresh or fixed scenes to train on, fixed ones for val and test.

    Args:
        config: scene family and its parameters.
        seed: seed of fresh training scenes and of the shuffling.
    """

    def __init__(self, config: DataConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.source, self.notice, self.train_includes_val = config.digits, "", False
        self.datasets: dict[str, SceneDataset] = {}
        self._rendered: dict[str, tuple[tuple[int, int], SceneBatch]] = {}

    @property
    def spec(self) -> Spec:
        """Shape of the problem, for the model."""
        return datasets.spec(self.config)

    def prepare_data(self) -> None:
        """Download the digits, in one process."""
        if not self.datasets:
            datasets.load(self.config)

    def setup(self, stage: str = "fit") -> None:
        """Build the dataset of every split.

        Raises:
            UserError: as for `datasets.load`, or no train split.
        """
        if not self.datasets:
            loaded = datasets.load(self.config, self.seed)
            if "train" not in loaded.splits:
                path, splits = vars(self.config)["path"], ", ".join(loaded.splits)
                raise UserError(f"data.path={path} has no train split, only {splits}: add a directory train")
            self.source, self.notice, self.datasets = loaded.source, loaded.notice, dict(loaded.splits)
            self.train_includes_val = loaded.train_includes_val

    def train_dataloader(self) -> IdLoader:
        train, batch_size = self.datasets["train"], self.config.batch_size
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        spec = train.spec
        pixels = batch_size * max(spec.height * spec.width, spec.max_length * spec.digit_size**2)
        return replace(
            self._dataloader("train", batch_size, train.scenes_per_epoch),
            finite=False,
            shuffle_seed=self.seed if train.fixed else None,
            varies=train.varies,
            accumulate_grad_batches=self.trainer.accumulate_grad_batches if self.trainer else 1,
            batches_per_render=max(1, _PIXELS_PER_RENDER // pixels) if on_gpu else 1,
        )

    def val_dataloader(self) -> IdLoader | list[IdLoader]:
        return self._eval_dataloader("val") if "val" in self.datasets else []

    def test_dataloader(self) -> IdLoader:
        return self._eval_dataloader("test")

    def predict_dataloader(self) -> IdLoader:
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Render a batch of ids on its device, or return its part of what was rendered with an earlier batch."""
        if not isinstance(batch, SceneIds):
            return batch
        group = (batch.first_batch, len(batch.ids))
        rendered, scenes = self._rendered.get(batch.split, (None, None))
        if scenes is None or rendered != group:
            ids = batch.ids.cpu() if batch.ids.device.type == "mps" else batch.ids  # its 64-bit products do not wrap
            scenes = self.datasets[batch.split].render(ids).to(batch.ids.device)
            self._rendered[batch.split] = group, scenes  # validation does not discard what is left to train on
        return SceneBatch(*(tensor[batch.scenes] for tensor in scenes))

    def _eval_dataloader(self, split: str) -> IdLoader:
        """Build a loader with at least one batch for every rank: a rank without one would block the all-reduce."""
        num_scenes, world_size = len(self.datasets[split]), self.trainer.world_size if self.trainer else 1
        check(
            num_scenes >= world_size,
            f"{num_scenes} scenes of {split} are fewer than the {world_size} processes: increase data.val_scenes or "
            "reduce trainer.devices",
        )
        batch_size = min(max(self.config.batch_size, _MIN_EVAL_BATCH_SIZE), num_scenes // world_size)
        return self._dataloader(split, batch_size, num_scenes)

    def _dataloader(self, split: str, batch_size: int, num_scenes: int) -> IdLoader:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return IdLoader(split, batch_size, num_scenes, rank, world_size)


@lru_cache(maxsize=2)
def _epoch_permutation(seed: int, epoch: int, num_scenes: int) -> Tensor:
    return rng.bits(rng.key(seed, "order", str(epoch)), torch.arange(num_scenes), 1)[:, 0].argsort(stable=True)
