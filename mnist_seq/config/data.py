"""Config shared by all scene families, and the problem spec that the data gives to the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from mnist_seq.config.corruptions import DIGIT_CORRUPTIONS, CorruptionConfig
from mnist_seq.config.field_types import Fraction, PositiveInt, one_of, within
from mnist_seq.config.validation import Validated, check


@dataclass(frozen=True)
class Spec:
    """Shape of the problem, decided by the data and given to the model."""

    height: int
    """Canvas height, pixels."""
    width: int
    """Canvas width, pixels."""
    max_length: int
    """Longest digit sequence."""
    cells: tuple[int, int]
    """Rows and columns of the cells that a classifier predicts; (0, 0) where no grid separates all digits, or
    the labels of a folder name no cells."""
    ordered: bool = True
    """Whether the order of the digits counts; otherwise they are a set."""
    digit_size: int = 28
    """Side of a digit's frame, pixels."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))


@dataclass
class AugmentConfig(Validated):
    """Random distortion of each training digit within its frame, or of whole pictures of `data=folder`, uniform.

    Pixels are those of a 28x28 frame, whatever `data.digit_size`.
    """

    key_prefix = "data.augment."

    rotation: Annotated[float, within(0, 180)] = 0.0
    """Largest rotation to either side, degrees, 0..180."""
    scale: Annotated[float, within(0, 0.9)] = 0.0
    """Largest relative change of size, 0..0.9; 0.1 draws from 0.9 to 1.1."""
    shear: Annotated[float, within(0, 60)] = 0.0
    """Largest horizontal shear to either side, degrees, 0..60."""
    shift: Annotated[float, within(0, 14)] = 0.0
    """Largest shift along each axis, pixels, 0..14; less where ink would leave the frame."""
    elastic: Annotated[float, within(0, 4)] = 0.0
    """Largest elastic displacement of a point along each axis, pixels, 0..4."""
    stroke: Annotated[float, within(0, 0.9)] = 0.0
    """Largest change of stroke width, pixels on each side, 0..0.9."""
    blur: Fraction = 0.0
    """Largest standard deviation of the blur, pixels, 0..1."""
    noise: Annotated[float, within(0, 0.9)] = 0.0
    """Largest fraction of its grey level that each pixel of ink may lose independently, 0..0.9."""
    continental: Fraction = 0.0
    """Fraction of ones that get an upstroke, and of sevens that get a crossbar, 0..1; half of this fraction of 0, 2, 4,
    5 and 9 is redrawn in forms that MNIST lacks. Whether a digit is changed depends on the digit alone. Not for kmnist
    and fashion_mnist, whose classes are not digits."""
    shared: Fraction = 0.0
    """Part of rotation, scale, shear, shift, stroke and blur that all digits of a scene have in common, 0..1."""
    p: Fraction = 1.0
    """Probability that a digit is distorted, 0..1."""

    @property
    def changes_digits(self) -> bool:
        """Whether any digit can come out distorted."""
        return self.p > 0 and self != AugmentConfig(continental=self.continental, shared=self.shared, p=self.p)


@dataclass
class DataConfig(Validated):
    """Keys of every scene family."""

    key_prefix = "data."
    reading_order: ClassVar[str] = "raster"
    """Order of the digits of a family that has no key for it; unused where they are a set."""

    family: str = "scene"
    """Scene family; chosen by `data=NAME`."""
    digits: str = "auto"
    """Source of single digits: auto, mnist, uci, emnist, kmnist, fashion_mnist or qmnist; `auto` uses MNIST, or UCI
    if MNIST is not on this machine and cannot be downloaded."""
    pool: Annotated[str, one_of(("split", "full"))] = "split"
    """`split` keeps digits for validation; `full` trains on all of them, without validation."""
    digit_size: Annotated[int, within(8, 512)] = 28
    """Side of a digit's frame, pixels, 8..512; MNIST's is 28, others are resampled."""
    batch_size: PositiveInt = 128
    """Scenes per step and device."""
    val_scenes: PositiveInt = 5000
    """Validation scenes, the same in every run."""
    scene_seed: int = 0
    """Seed of the val and test scenes, and of num_train_scenes; other training scenes follow the run's `seed`."""
    num_train_scenes: PositiveInt | None = None
    """Size of a fixed training set, the same in every run; null draws new scenes in every step."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Distortion of training digits: a preset of `data/augment`, and its keys."""
    corruptions: CorruptionConfig = field(default_factory=CorruptionConfig)
    """Corruption of training scenes: a preset of `data/corruptions`, and its keys."""

    def __post_init__(self) -> None:
        super().__post_init__()
        named = type(self).family
        for key in DIGIT_CORRUPTIONS:
            value = getattr(self.corruptions, key)
            check(value == 0, f"data.corruptions.{key}={value} has no effect in training: set data.augment.{key}")
        check(self.family == named, f"data.family={self.family} in a {named} config: choose with data={self.family}")

    @property
    def spec(self) -> Spec:
        """Shape of the problem."""
        raise NotImplementedError(type(self).__name__)


@dataclass
class VariableCountConfig(DataConfig):
    """Keys of a family whose number of digits is drawn uniformly."""

    height: int = 64
    """Canvas height, pixels."""
    width: int = 64
    """Canvas width, pixels."""
    min_digits: int = 1
    """Smallest number of digits, at least 0."""
    max_digits: Annotated[int, within(1, 100)] = 4
    """Largest number of digits, 1..100."""
    max_length: int | None = None
    """Longest sequence that the model can output, to evaluate it on longer scenes; null means max_digits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.min_digits, self.max_digits
        check(0 <= low <= high, f"data.min_digits={low} must lie in 0..data.max_digits={high}")
        check(
            self.max_length is None or self.max_length >= high,
            f"data.max_length={self.max_length} is less than data.max_digits={high}: choose at least {high}, or null",
        )
        for key in ("height", "width"):
            side = getattr(self, key)
            check(side >= self.digit_size, f"data.{key}={side} is less than data.digit_size={self.digit_size}")

    def _make_spec(self, cells: tuple[int, int], ordered: bool = True) -> Spec:
        return Spec(self.height, self.width, self.max_length or self.max_digits, cells, ordered, self.digit_size)
