"""Scene families, and the shape of the problem that they pose."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnist_seq.config.law import require


@dataclass(frozen=True)
class Spec:
    """The shape of the problem, decided by the data and given to the model."""

    height: int
    """Canvas height, pixels."""
    width: int
    """Canvas width, pixels."""
    max_digits: int
    """Most digits a scene can hold."""
    cells: tuple[int, int]
    """Rows and columns of the cells that a classifier reads."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))


@dataclass
class AugmentConfig:
    """Random distortion of each training digit within its 28x28 frame; uniform in the ranges given."""

    rotation: float = 0.0
    """Largest angle either way, degrees."""
    scale: float = 0.0
    """Largest relative change of size: 0.1 draws from 0.9 to 1.1."""
    shear: float = 0.0
    """Largest horizontal shear either way, degrees."""
    shift: float = 0.0
    """Largest displacement either way on each axis, pixels; less where ink would leave the frame."""

    def __post_init__(self) -> None:
        for key, limit in (("rotation", 180), ("scale", 0.9), ("shear", 60), ("shift", 14)):
            value = getattr(self, key)
            require(0 <= value <= limit, f"data.augment.{key}={value} must lie in 0..{limit}")


@dataclass
class DataConfig:
    """What every scene family shares."""

    family: str = "scene"
    digits: str = "auto"
    """Where single digits come from: auto, mnist, uci, emnist, kmnist, fashion_mnist, qmnist."""
    pool: str = "split"
    """`split` keeps a validation pool apart; `full` trains on both, without validation."""
    batch_size: int = 128
    """Scenes a step and device."""
    val_scenes: int = 5000
    """Scenes of a validation, the same in every run."""
    scene_seed: int = 0
    """Seed of the val and test scenes; training scenes follow the run's own `seed`."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        named = next((name for name, schema in FAMILIES.items() if schema is type(self)), self.family)
        require(self.family == named, f"data.family={self.family} in a {named} config: choose with data={self.family}")
        for key in ("batch_size", "val_scenes"):
            require(getattr(self, key) >= 1, f"data.{key}={getattr(self, key)} must be at least 1")
        require(self.pool in ("split", "full"), f"data.pool={self.pool} is neither split nor full")


@dataclass
class SingleConfig(DataConfig):
    """One digit on 28x28."""

    family: str = "single"


@dataclass
class GridConfig(DataConfig):
    """A digit in each 28x28 cell of a grid, read in raster order."""

    family: str = "grid"
    rows: int = 2
    cols: int = 2
    empty: float = 0.0
    """Chance of a cell to stay empty."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("rows", "cols"):
            require(getattr(self, key) >= 1, f"data.{key}={getattr(self, key)} must be at least 1")
        require(0 <= self.empty < 1, f"data.empty={self.empty} must be at least 0 and below 1")


FAMILIES: dict[str, type[DataConfig]] = {"single": SingleConfig, "grid": GridConfig}
