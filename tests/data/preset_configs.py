"""Every preset of configs/data, for tests that hold for all of them."""

from __future__ import annotations

from functools import cache

import mnist_seq
from mnist_seq.config import DataConfig, config_store
from mnist_seq.data import sources
from mnist_seq.data.digits import Pool

PRESETS = [name for name in config_store.preset_names("data") if name != "folder"]
STRONG = ("data/augment=strong",)


@cache
def preset(name: str, *overrides: str) -> DataConfig:
    config = mnist_seq.compose(f"data={name}", "data.digits=uci", *overrides).data
    assert isinstance(config, DataConfig)
    return config


@cache
def pool(split: str) -> Pool:
    return sources.load("uci").pools[split]
