"""Datasets of scenes: synthetic, on disk or corrupted; and `load`, which builds every split of a config.

Shapes   B scenes
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import ClutteredConfig, CorruptionConfig, DataConfig, FolderConfig, MixedConfig, Spec
from mnist_seq.config.corruptions import DIGIT_CORRUPTIONS
from mnist_seq.data import corruptions, image_folder, render, sources
from mnist_seq.data.continental import train_pool
from mnist_seq.data.digit_corruptions import corrupt_pool
from mnist_seq.data.digits import Pool
from mnist_seq.data.labels import Label
from mnist_seq.data.mixture_dataset import MixtureDataset
from mnist_seq.data.picture_augment import augment_pictures
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.errors import UserError

log = logging.getLogger(__name__)

NUM_TEST_SCENES = 10_000
"""Length of a synthetic test split."""
_INFINITE_LENGTH = 2**31 - 1


class SyntheticDataset(SceneDataset):
    """Scenes of a family, rendered on demand; only the train split is augmented.

    Args:
        config: scene family and its parameters.
        pool: digits of the split.
        seed: same seed, same scenes.
    """

    def __init__(self, config: DataConfig, pool: Pool, seed: int = 0) -> None:
        num_train_scenes = config.num_train_scenes
        lengths = {"train": num_train_scenes or _INFINITE_LENGTH, "val": config.val_scenes}
        super().__init__(
            split=pool.split,
            spec=config.spec,
            length=lengths.get(pool.split, NUM_TEST_SCENES),
            scenes_per_epoch=num_train_scenes or len(pool),
            fixed=num_train_scenes is not None and pool.split == "train",
        )
        self.config, self.seed = config, seed
        self.pool = pool.resized(config.digit_size)
        self._pools = {torch.device("cpu"): self.pool}

    def order_margins(self, ids: Int[Tensor, "B"]) -> Int[Tensor, "B"] | None:
        return render.order_margins(ids, self.config, self.pool, self.seed)

    def _render(self, ids: Tensor) -> SceneBatch:
        config, is_train = self.config, self.split == "train"
        batch = render.render(ids, config, self._pool_on(ids.device), self.seed, augmented=is_train)
        if not is_train:
            return batch
        return corruptions.corrupt_scenes(batch, ids, config.corruptions, self.seed, self.split, config.digit_size)

    def _pool_on(self, device: torch.device) -> Pool:
        if device not in self._pools:
            self._pools[device] = self.pool.to(device)
        return self._pools[device]


class FolderDataset(SceneDataset):
    """Images on disk with their labels, read into memory when the first scene is rendered; train is augmented.

    Args:
        labels: one per image.
        config: of the folder.
        seed: of the augmentation.
    """

    def __init__(self, split: str, labels: list[Label], spec: Spec, config: FolderConfig, seed: int = 0) -> None:
        super().__init__(split, spec, length=len(labels), scenes_per_epoch=len(labels), fixed=True)
        self.labels: list[Label] = labels
        self.config, self.seed = config, seed
        self.writer_column = config.split_by or self.writer_column
        self.varies = split == "train" and (config.augment.changes_digits or bool(config.corruptions.non_default))

    def _render(self, ids: Tensor) -> SceneBatch:
        indices = ids.cpu() % len(self) if self.varies else ids.cpu()
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < len(self):
            path = self.labels[0].location.rpartition(":")[0]
            raise IndexError(f"scene {int(indices.max())} of {len(self)} in {path}")
        batch = SceneBatch(*(tensor[indices] for tensor in self._scenes)).to(ids.device)
        if not self.varies:
            return batch
        return augment_pictures(batch, ids, self.config, self.seed, self.split, self.spec.digit_size)

    @cached_property
    def _scenes(self) -> SceneBatch:
        return image_folder.read_scenes(self.labels, self.spec)


class CorruptedDataset(SceneDataset):
    """The scenes of a dataset, corrupted: the same digits at the same positions.

    Raises:
        UserError: digits are to be corrupted, but the dataset contains rendered images.
    """

    def __init__(self, dataset: SceneDataset, config: CorruptionConfig) -> None:
        super().__init__(dataset.split, dataset.spec, len(dataset), dataset.scenes_per_epoch, dataset.fixed)
        if keys := [key for key in DIGIT_CORRUPTIONS if key in config.non_default]:
            if not isinstance(dataset, SyntheticDataset):
                raise UserError(
                    f"corruptions.{keys[0]}={config.non_default[keys[0]]} is applied to digits before rendering, but "
                    "this dataset contains rendered images: use corruptions.blur, noise or contrast"
                )
            pool = corrupt_pool(dataset.pool, config, include_clutter=_has_distractors(dataset.config))
            dataset = SyntheticDataset(dataset.config, pool, dataset.seed)
        self.labels, self.writer_column = dataset.labels, dataset.writer_column
        self._dataset, self._corruption = dataset, config

    def order_margins(self, ids: Int[Tensor, "B"]) -> Int[Tensor, "B"] | None:
        return self._dataset.order_margins(ids)

    def _render(self, ids: Tensor) -> SceneBatch:
        batch = self._dataset.render(ids)
        background = corruptions.PICTURE_BACKGROUND if self.labels else 0
        return corruptions.corrupt_scenes(batch, ids, self._corruption, 0, self.split, self.spec.digit_size, background)


@dataclass(frozen=True)
class DatasetSplits:
    """The datasets of a config, and the digits that they show."""

    source: str
    """Name of the digits' source."""
    notice: str
    """Warning that every result must carry; empty for MNIST."""
    splits: Mapping[str, SceneDataset]
    train_includes_val: bool
    """The train split shows digits that are validation digits elsewhere."""


def spec(config: DataConfig) -> Spec:
    """Return the shape of the problem: canvas size, longest sequence, cells.

    Raises:
        UserError: a directory without readable scenes.
    """
    return image_folder.read_spec(config) if isinstance(config, FolderConfig) else config.spec


def load(config: DataConfig, seed: int = 0) -> DatasetSplits:
    """Build the dataset of every split.

    Args:
        seed: seed of fresh training scenes; val, test and fixed training scenes use `config.scene_seed`.

    Raises:
        UserError: labels, images or digits that cannot be read.
        NotFoundError: no such directory.
        DownloadError: the digits are missing and cannot be downloaded.
    """
    if isinstance(config, FolderConfig):
        card = image_folder.read_card(config.path)
        splits: dict[str, SceneDataset] = {**load_folder(config, seed)}
        notice = card.get("notice", "")
        if config.synthetic is not None and "train" in splits:
            drawn, fraction = load(config.synthetic, seed), float(config.synthetic_fraction)
            what = f"{config.synthetic.family} of {drawn.source}"
            log.info("%.0f %% of the training scenes are synthetic: %s", 100 * fraction, what)
            splits["train"] = MixtureDataset(splits["train"], drawn.splits["train"], fraction, seed)
            notice = " ".join(filter(None, (notice, drawn.notice)))
        full = "full" in (config.pool, card.get("data", {}).get("pool"))
        return DatasetSplits(card.get("digits", image_folder.SOURCE), notice, splits, full)
    source = sources.load(config.digits, config.pool)
    config = replace(config, digits=source.name)
    fresh = config.num_train_scenes is None
    seeds = {split: seed if split == "train" and fresh else config.scene_seed for split in source.pools}
    pools = source.pools | {"train": train_pool(source, config.augment.continental)}
    synthetic = {split: SyntheticDataset(config, pool, seeds[split]) for split, pool in pools.items()}
    return DatasetSplits(source.name, source.notice, synthetic, config.pool == "full")


def load_folder(config: FolderConfig, seed: int = 0) -> dict[str, FolderDataset]:
    """Build the dataset of every split of a directory of images, see `image_folder`.

    Args:
        seed: seed of the augmentation.

    Raises:
        UserError: labels that cannot be read.
        NotFoundError: no such directory, or no labels in it.
    """
    labels, spec = image_folder.read_splits(config)
    return {split: FolderDataset(split, rows, spec, config, seed) for split, rows in labels.items()}


def _has_distractors(config: DataConfig) -> bool:
    parts = config.parts.values() if isinstance(config, MixedConfig) else [config]
    return any(isinstance(part, ClutteredConfig) for part in parts)
