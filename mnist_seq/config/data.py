"""What every scene family shares, and the shape of the problem that it poses."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from mnist_seq.config.validation import check


@dataclass(frozen=True)
class Spec:
    """The shape of the problem, decided by the data and given to the model."""

    height: int
    """Canvas height, pixels."""
    width: int
    """Canvas width, pixels."""
    max_length: int
    """Longest sequence that may have to be written."""
    cells: tuple[int, int]
    """Rows and columns of the cells that a classifier reads; 0 0 where two digits can share a cell of any grid, or
    the labels of a folder name none."""
    ordered: bool = True
    """Whether digits must be read in their order; otherwise they are a set, and any order is right."""
    digit_size: int = 28
    """Side of a digit's frame, pixels; 28 unless scaled."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", tuple(self.cells))


@dataclass
class AugmentConfig:
    """Random distortion of each training digit within its frame; uniform in the ranges given.

    Pixels are those of a 28x28 frame, whatever `data.digit_size`.
    """

    rotation: float = 0.0
    """Largest angle either way, degrees."""
    scale: float = 0.0
    """Largest relative change of size: 0.1 draws from 0.9 to 1.1."""
    shear: float = 0.0
    """Largest horizontal shear either way, degrees."""
    shift: float = 0.0
    """Largest displacement either way on each axis, pixels; less where ink would leave the frame."""
    elastic: float = 0.0
    """Bound of the smooth displacement of each point on each axis, pixels."""
    stroke: float = 0.0
    """Largest change of stroke width: a share of what one pixel more, or less, all around would change."""
    blur: float = 0.0
    """Largest standard deviation of the blur, pixels."""
    noise: float = 0.0
    """Largest share of its grey level that a pixel of ink may lose, each pixel by itself."""
    p: float = 1.0
    """Probability that a digit is distorted at all. The others stay sharp: resampling softens a digit a little."""

    def __post_init__(self) -> None:
        limits = {"rotation": 180, "scale": 0.9, "shear": 60, "shift": 14, "elastic": 4, "stroke": 0.9, "blur": 1}
        for key, limit in (limits | {"noise": 0.9, "p": 1}).items():
            value = getattr(self, key)
            check(0 <= value <= limit, f"data.augment.{key}={value} must lie in 0..{limit}")


@dataclass
class DataConfig:
    """What every scene family shares."""

    family: str = "scene"
    digits: str = "auto"
    """Where single digits come from: auto, mnist, uci, emnist, kmnist, fashion_mnist, qmnist."""
    pool: str = "split"
    """`split` keeps a validation pool apart; `full` trains on both, without validation."""
    digit_size: int = 28
    """Side of a digit's frame, pixels; MNIST's is 28, any other is resampled."""
    batch_size: int = 128
    """Scenes a step and device."""
    val_scenes: int = 5000
    """Scenes of a validation, the same in every run."""
    scene_seed: int = 0
    """Seed of the val, test and fixed scenes; other training scenes follow the run's own `seed`."""
    num_train_scenes: int | None = None
    """Train on so many scenes, the same in every run, each once an epoch; null never shows a scene twice."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        named = next(each.default for each in fields(self) if each.name == "family")
        check(self.family == named, f"data.family={self.family} in a {named} config: choose with data={self.family}")
        for key in ("batch_size", "val_scenes"):
            check(getattr(self, key) >= 1, f"data.{key}={getattr(self, key)} must be at least 1")
        check(self.pool in ("split", "full"), f"data.pool={self.pool} is neither split nor full")
        check(8 <= self.digit_size <= 512, f"data.digit_size={self.digit_size} must lie in 8..512")
        check(
            self.num_train_scenes is None or self.num_train_scenes >= 1,
            f"data.num_train_scenes={self.num_train_scenes} must be at least 1, or null",
        )

    @property
    def spec(self) -> Spec:
        """The shape of the problem that these scenes pose."""
        raise NotImplementedError(type(self).__name__)


@dataclass
class VariableCountConfig(DataConfig):
    """A family whose scenes hold a number of digits, uniform in a range and always honoured."""

    height: int = 64
    """Canvas height, pixels."""
    width: int = 64
    """Canvas width, pixels."""
    min_digits: int = 1
    max_digits: int = 4
    max_length: int | None = None
    """Longest sequence that the model must be able to write, for judging on longer ones; null takes max_digits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.min_digits, self.max_digits
        check(0 <= low <= high, f"data.min_digits={low} must lie in 0..data.max_digits={high}")
        check(1 <= high <= 100, f"data.max_digits={high} must lie in 1..100")
        check(
            self.max_length is None or self.max_length >= high,
            f"data.max_length={self.max_length} is less than data.max_digits={high}: choose at least {high}, or null",
        )
        for key in ("height", "width"):
            side = getattr(self, key)
            check(side >= self.digit_size, f"data.{key}={side} is less than data.digit_size={self.digit_size}")

    def _make_spec(self, cells: tuple[int, int], ordered: bool = True) -> Spec:
        return Spec(self.height, self.width, self.max_length or self.max_digits, cells, ordered, self.digit_size)
