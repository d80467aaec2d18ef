"""The data family `folder`: its keys, and the values that it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from mnist_seq.config.data import DataConfig, Spec
from mnist_seq.config.field_types import Fraction, NonNegativeInt, Seed, within
from mnist_seq.config.validation import check


@dataclass
class FolderConfig(DataConfig):
    """Images and labels on disk, from `synthesise` or your own."""

    family: str = "folder"
    path: str = ""
    """Path of the folder; `data.from=DIR` is short for `data=folder data.path=DIR`."""
    height: Annotated[int, within(8, 1024)] | None = None
    """Canvas height, pixels, 8..1024; set with width. null means that of data.synthetic, or else the common size of
    the images if that is at most 256x256, or else 32x256; `evaluate` uses that of the model."""
    width: Annotated[int, within(8, 4096)] | None = None
    """Canvas width, pixels, 8..4096."""
    max_length: Annotated[int, within(1, 100)] | None = None
    """Longest sequence that the model can output, 1..100; null means that of the longest label or of
    data.synthetic, and `evaluate` that of the model."""

    split_by: str | None = None
    """Column of the labels, such as writer: images with the same value are in one split; null splits by image."""
    split_seed: Seed | None = 0
    """Seed of the random split into train and val, 0..2147483647; null means the last images for validation. Neither
    has an effect on directories train, val and test, or on a column split."""
    val_fraction: Fraction = 0.2
    """Fraction of the images that are for validation, 0..1."""
    fold: NonNegativeInt = 0
    """Which fraction is for validation; with val_fraction=0.2, folds 0 to 4 validate on every image once."""

    synthetic: Any = None
    """Scene family that is mixed into training: a preset of `data`, as data@data.synthetic=line, and its keys."""
    synthetic_fraction: Fraction = 0.5
    """Fraction of the training scenes that are synthetic, 0..1, where there are any."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.path), "data.path is empty: name a folder of images and labels, as data.from=DIR")
        self.path = str(Path(self.path).absolute())  # so that a run can be evaluated from another directory
        check(
            (self.height is None) == (self.width is None),
            f"data.height={self.height} with data.width={self.width}: set both, or neither",
        )
        check(
            (self.fold + 1) * self.val_fraction <= 1 + 1e-6,
            f"data.fold={self.fold} with data.val_fraction={self.val_fraction} lies beyond the last image: "
            f"choose at most data.fold={int(1 / (self.val_fraction or 1) + 1e-6) - 1}",
        )
        check(
            self.pool != "full" or self.val_fraction < 1,
            "data.val_fraction=1 uses all images for validation, and data.pool=full for training: leave one out",
        )
        check(
            not self.fold or self.split_seed is not None,
            f"data.fold={self.fold} has no effect with data.split_seed=null: set a seed",
        )
        check(
            not self.split_by or self.split_seed is not None,
            f"data.split_by={self.split_by} has no effect with data.split_seed=null: set a seed",
        )
        check(
            self.num_train_scenes is None,
            f"data.num_train_scenes={self.num_train_scenes} has no effect on images of data=folder: leave it out",
        )
        for key in ("shared", "continental"):
            share = getattr(self.augment, key)
            check(share == 0, f"data.augment.{key}={share}: a picture is augmented as a whole, leave it out")

        if self.synthetic is not None:
            self._check_synthetic(self.synthetic)

    def _check_synthetic(self, synthetic: Any) -> None:
        way_out = "choose a scene family with data@data.synthetic=NAME"
        drawn = isinstance(synthetic, DataConfig) and not isinstance(synthetic, FolderConfig)
        check(drawn, f"data.synthetic={getattr(synthetic, 'family', synthetic)} is not drawn: {way_out}")
        for key in ("pool", "batch_size", "val_scenes", "scene_seed", "num_train_scenes"):
            value, default = getattr(synthetic, key), getattr(DataConfig(), key)
            check(value == default, f"data.synthetic.{key}={value} has no effect: leave it out")

    def for_model(self, spec: Spec) -> FolderConfig:
        """Return this config with a model's size of digits, and its canvas and longest sequence where none are set."""
        width, max_length = self.width or spec.width, self.max_length or spec.max_length
        height, digit_size = self.height or spec.height, spec.digit_size
        return replace(self, height=height, width=width, max_length=max_length, digit_size=digit_size)
