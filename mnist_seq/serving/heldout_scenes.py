"""Test scenes for the demo page, which no model was trained on: of the families that fit a model's canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml

from mnist_seq.config import DataConfig, FolderConfig, MixedConfig, Spec, config_store
from mnist_seq.config.serialization import data_from_dict
from mnist_seq.data import datasets, sources
from mnist_seq.serving.drawing import held
from mnist_seq.vocabulary import NUM_DIGITS

OWN = "its own"
"""What a reader's own scenes are called, where no preset describes them."""


@dataclass(frozen=True)
class Scene:
    """One, on a reader's canvas."""

    image: np.ndarray
    """H W, uint8, ink on 0."""
    digits: list[int]
    ordered: bool
    """Whether they are read in their order; otherwise any order is right."""

    def right(self, read: list[int]) -> bool:
        return read == self.digits if self.ordered else sorted(read) == sorted(self.digits)


def families(spec: Spec, own: dict[str, Any] | None) -> dict[str, DataConfig]:
    """Presets whose scenes a canvas can hold and a reader can write, by name; the reader's own first.

    Args:
        own: the scenes it was trained on, as its card has them.
    """
    found = {}
    for name in config_store.preset_names("data"):
        config = _preset(name)
        if config and _fits(config.spec, spec):
            found[name] = config
    trained = data_from_dict(own) if own else None
    if trained is None:
        return found
    named = next((name for name, config in found.items() if _same(config, trained)), OWN)
    return {named: trained} | found | {named: trained}


def load(config: DataConfig) -> datasets.DatasetSplits:
    """Of digits that are at hand.

    Raises:
        FileNotFoundError, ValueError: a folder or digits that cannot be read.
    """
    return datasets.load(replace(config, digits=sources.resolve_offline(config.digits)))


def scene(of: datasets.DatasetSplits, index: int, spec: Spec) -> Scene:
    """A test scene in the middle of a canvas."""
    drawn = of.splits["test"][index]
    read = [digit for digit in drawn.digits[0].tolist() if digit < NUM_DIGITS]
    return Scene(held(drawn.images[0, 0].numpy(), spec), read, of.splits["test"].spec.ordered)


def _preset(name: str) -> DataConfig | None:
    """A preset that states its values itself; None of one put together from others, or that needs a path."""
    values = yaml.safe_load((config_store.CONFIG_DIR / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    schema = str(values.pop("defaults")[0]).partition("@")[0]
    family = schema.removeprefix("schema/")
    if family == schema or family in (MixedConfig.family, FolderConfig.family):
        return None
    return data_from_dict({"family": family} | values)


def _fits(scenes: Spec, canvas: Spec) -> bool:
    return scenes.height <= canvas.height and scenes.width <= canvas.width and scenes.max_length <= canvas.max_length


def _same(one: DataConfig, other: DataConfig) -> bool:
    """Whether two configs show the same test scenes, distortion and digits apart."""
    apart = {"augment", "digits", "pool", "batch_size", "val_scenes", "num_train_scenes"}
    mine, theirs = ({key: value for key, value in vars(it).items() if key not in apart} for it in (one, other))
    return mine == theirs
