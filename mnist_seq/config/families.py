"""Scene families: their keys, and the values that each refuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from mnist_seq.config.data import DataConfig, Spec, VariableCountConfig
from mnist_seq.config.field_types import Below1, NonNegativeInt, PositiveInt, within
from mnist_seq.config.folder import FolderConfig
from mnist_seq.config.line import LineConfig
from mnist_seq.config.scatter import ScatterConfig
from mnist_seq.config.validation import check


@dataclass
class SingleConfig(DataConfig):
    """One digit that fills the canvas."""

    family: str = "single"

    @property
    def spec(self) -> Spec:
        return Spec(self.digit_size, self.digit_size, 1, (1, 1), digit_size=self.digit_size)


@dataclass
class GridConfig(DataConfig):
    """A digit in each cell of a grid, read in raster order."""

    family: str = "grid"
    rows: PositiveInt = 2
    """Rows of cells."""
    cols: PositiveInt = 2
    """Columns of cells."""
    p_empty: Below1 = 0.0
    """Probability that a cell stays empty, 0 or more and below 1."""

    @property
    def spec(self) -> Spec:
        rows, cols, side = self.rows, self.cols, self.digit_size
        return Spec(rows * side, cols * side, rows * cols, (rows, cols), digit_size=side)


@dataclass
class StringConfig(VariableCountConfig):
    """Frames of digits side by side, read from left to right."""

    reading_order = "left_to_right"

    family: str = "string"
    height: int = 32
    width: int = 224
    max_digits: int = 5
    max_length: int | None = 8
    min_advance: int = 20
    """Smallest distance between the left edges of neighbours, pixels; below digit_size, digits may touch."""
    max_advance: int = 28
    """Largest such distance, pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        closest, widest = self.min_advance, self.max_advance
        check(1 <= closest <= widest, f"data.min_advance={closest} must lie in 1..data.max_advance={widest}")
        needed = (self.max_digits - 1) * widest + self.digit_size
        check(
            needed <= self.width,
            f"data.max_digits={self.max_digits} does not fit on data.width={self.width} with "
            f"data.max_advance={widest}: choose data.width={needed}, or at most "
            f"data.max_digits={1 + (self.width - self.digit_size) // widest}",
        )

    @property
    def spec(self) -> Spec:
        return self._make_spec((1, -(-self.width // self.min_advance)))


@dataclass
class MultidigitConfig(DataConfig):
    """The digits of a random number side by side, each frame over the edge of the one before it; left to right."""

    reading_order = "left_to_right"

    family: str = "multidigit_mnist"
    max_digits: Annotated[int, within(1, 100)] = 5
    """Largest number of digits, 1..100."""
    max_overlap: Below1 = 0.4
    """Largest overlap of neighbouring frames, as a fraction of their width, 0 or more and below 1."""

    @property
    def spec(self) -> Spec:
        width = self.max_digits * self.digit_size
        smallest_advance = self.digit_size - int(self.max_overlap * self.digit_size)
        cells = (1, -(-width // smallest_advance))
        return Spec(self.digit_size + 4, width, self.max_digits, cells, digit_size=self.digit_size)


@dataclass
class OverlapConfig(VariableCountConfig):
    """Digits added on top of each other, read as a set in ascending order (MultiMNIST, Sabour et al. 2017)."""

    family: str = "overlap"
    height: int = 36
    width: int = 36
    min_digits: int = 2
    shift: int = 4
    """Largest shift from the centre along each axis, whole pixels, 0..digit_size; ink beyond the canvas is lost."""
    distinct: bool = False
    """All digits of a scene have different classes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.shift <= self.digit_size, f"data.shift={self.shift} must lie in 0..{self.digit_size}")
        check(
            not self.distinct or self.max_digits <= 10,
            f"data.max_digits={self.max_digits} with data.distinct=true: there are 10 classes",
        )

    @property
    def bleed(self) -> int:
        """How far a digit's frame may reach beyond the canvas, pixels; ink there is lost."""
        return max(0, self.shift - (min(self.height, self.width) - self.digit_size) // 2)

    @property
    def spec(self) -> Spec:
        return self._make_spec((0, 0), ordered=False)


@dataclass
class ClutteredConfig(DataConfig):
    """Three digits along a slope among fragments of others, read from left to right (Sønderby et al. 2015)."""

    reading_order = "left_to_right"

    family: str = "cluttered"
    num_distractors: NonNegativeInt = 8
    """Distractors: 9x9 fragments of digits outside the test split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.digit_size == 28, f"data.digit_size={self.digit_size}: the protocol of cluttered has 28")

    @property
    def spec(self) -> Spec:
        return Spec(100, 100, 3, (1, 4))


@dataclass
class MixedConfig(DataConfig):
    """Scenes of several families; a smaller canvas lies at a random position on the largest."""

    family: str = "mixed"
    parts: dict[str, Any] = field(default_factory=dict)
    """Name -> config of a scene family; keys that all families share are set for the mixture only."""
    weights: dict[str, float] = field(default_factory=dict)
    """Name -> relative frequency."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names, weighted = ", ".join(self.parts), ", ".join(self.weights)
        check(bool(self.parts), "data.parts is empty: name at least one scene family")
        check(
            self.parts.keys() == self.weights.keys(),
            f"data.weights has {weighted or 'none'} but data.parts {names}: give each part a weight",
        )
        for name, weight in self.weights.items():
            check(0 <= weight < math.inf, f"data.weights.{name}={weight} must be at least 0, and finite")
        check(sum(self.weights.values()) > 0, f"data.weights of {weighted} are all 0: give one a weight")
        for name, part in self.parts.items():
            drawn = isinstance(part, DataConfig)
            check(drawn, f"data.parts.{name}={part} is not a scene family: add one with +data@data.parts.{name}=PRESET")
        shared = DataConfig()
        height, width = self.spec.height, self.spec.width
        for name, part in self.parts.items():
            mixable = part.family not in ("mixed", "folder", "multidigit_mnist")  # the last does not add up its digits
            check(mixable, f"data.parts.{name}: {part.family} cannot be mixed, choose another family")
            for key in vars(shared).keys() - {"family", "augment", "corruptions", "digit_size"}:
                same = getattr(part, key) in (getattr(shared, key), getattr(self, key))
                check(same, f"data.parts.{name}.{key}={getattr(part, key)} has no effect: set data.{key}")
            size = part.digit_size
            check(size == self.digit_size, f"data.parts.{name}.digit_size={size} is not data.digit_size")
            for key in ("p_mark", "p_final_mark", "p_scrawl"):
                marks = getattr(part, key, 0)
                check(marks == 0, f"data.parts.{name}.{key}={marks}: marks cannot be mixed, set it to 0")
            lossy = getattr(part, "bleed", 0) > 0 and (part.spec.height, part.spec.width) != (height, width)
            check(not lossy, f"data.parts.{name}: its canvas must be the largest, {height}x{width}")

    @property
    def spec(self) -> Spec:
        specs = [part.spec for part in self.parts.values()]
        height, width = max(it.height for it in specs), max(it.width for it in specs)
        cells = (0, 0)
        if all(it.cells[0] for it in specs):  # no cell larger than any part's
            cells = (
                max(-(-height * it.cells[0] // it.height) for it in specs),
                max(-(-width * it.cells[1] // it.width) for it in specs),
            )
        longest, ordered = max(it.max_length for it in specs), any(it.ordered for it in specs)
        return Spec(height, width, longest, cells, ordered, self.digit_size)


FAMILY_CONFIGS: dict[str, type[DataConfig]] = {
    "single": SingleConfig,
    "grid": GridConfig,
    "scatter": ScatterConfig,
    "line": LineConfig,
    "string": StringConfig,
    "multidigit_mnist": MultidigitConfig,
    "overlap": OverlapConfig,
    "cluttered": ClutteredConfig,
    "mixed": MixedConfig,
    "folder": FolderConfig,
}
