"""The data family `folder`: its keys, and the values that it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from mnist_seq.config.data import DataConfig, Spec
from mnist_seq.config.field_types import within
from mnist_seq.config.validation import check


@dataclass
class FolderConfig(DataConfig):
    """Images and labels on disk, from `synthesise` or your own."""

    family: str = "folder"
    path: str = ""
    """Path of the folder; `data.from=DIR` is short for `data=folder data.path=DIR`."""
    height: Annotated[int, within(8, 1024)] | None = None
    """Canvas height, pixels, 8..1024; set with width. null takes the size of the images if all have one of at most
    256x256, and else 32x256; `evaluate` takes that of the model."""
    width: Annotated[int, within(8, 4096)] | None = None
    """Canvas width, pixels, 8..4096."""
    max_length: Annotated[int, within(1, 100)] | None = None
    """Longest sequence that the model can output, 1..100; null takes that of the longest label, and `evaluate` that of
    the model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.path), "data.path is empty: name a folder of images and labels, as data.from=DIR")
        self.path = str(Path(self.path).absolute())  # so that a run can be evaluated from another directory
        check(
            (self.height is None) == (self.width is None),
            f"data.height={self.height} with data.width={self.width}: set both, or neither",
        )
        for key in ("digit_size", "num_train_scenes", "augment", "corruptions"):
            value, shared = getattr(self, key), getattr(DataConfig(), key)
            check(value == shared, f"data.{key}={value} has no effect on images of data=folder: leave it out")

    def for_model(self, spec: Spec) -> FolderConfig:
        """Return this config with a model's canvas and longest sequence where none are set."""
        width, max_length = self.width or spec.width, self.max_length or spec.max_length
        return replace(self, height=self.height or spec.height, width=width, max_length=max_length)
