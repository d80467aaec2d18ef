"""Scene families: what each shows, and what it cannot show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mnist_seq.config.data import DataConfig, Spec
from mnist_seq.config.law import require
from mnist_seq.config.seats import Seats, intersection, seats

ORDERS = ("left_to_right", "raster", "rows", "set")


@dataclass
class SingleConfig(DataConfig):
    """One digit that fills the canvas."""

    family: str = "single"

    @property
    def spec(self) -> Spec:
        return Spec(self.digit_size, self.digit_size, 1, (1, 1))


@dataclass
class GridConfig(DataConfig):
    """A digit in each cell of a grid, read in raster order."""

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

    @property
    def spec(self) -> Spec:
        rows, cols = self.rows, self.cols
        return Spec(rows * self.digit_size, cols * self.digit_size, rows * cols, (rows, cols))


@dataclass
class CountedConfig(DataConfig):
    """A family whose scenes hold a number of digits, uniform in a range and always honoured."""

    height: int = 64
    """Canvas height, pixels."""
    width: int = 64
    """Canvas width, pixels."""
    min_digits: int = 1
    max_digits: int = 4
    longest: int | None = None
    """Longest sequence that the model must be able to write, for judging on longer ones; null takes max_digits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.min_digits, self.max_digits
        require(0 <= low <= high, f"data.min_digits={low} must lie in 0..data.max_digits={high}")
        require(1 <= high <= 100, f"data.max_digits={high} must lie in 1..100")
        require(
            self.longest is None or self.longest >= high,
            f"data.longest={self.longest} is less than data.max_digits={high}: choose at least {high}, or null",
        )
        for key in ("height", "width"):
            side = getattr(self, key)
            require(side >= self.digit_size, f"data.{key}={side} is less than data.digit_size={self.digit_size}")

    def _shape(self, cells: tuple[int, int]) -> Spec:
        return Spec(self.height, self.width, self.longest or self.max_digits, cells)


@dataclass
class ScatterConfig(CountedConfig):
    """Digits at random places."""

    family: str = "scatter"
    min_digits: int = 0
    overlap: Any = "none"
    """Of any two frames: `none`, a bound on their intersection over union in (0, 1), or `free`."""
    order: str = "rows"
    """How the digits are read: left_to_right, raster, rows or set."""
    order_margin: int = 2
    """Layouts whose rows or order would change if a digit moved by less than this are drawn again, pixels."""
    tries: int = 16
    """Uniform tries a digit before its layout is begun anew."""
    drop: bool = False
    """Leave out a digit that found no place in its tries, instead of drawing again: then counts are not uniform."""

    def __post_init__(self) -> None:
        super().__post_init__()
        numeric = isinstance(self.overlap, (int, float)) and not isinstance(self.overlap, bool)
        require(
            self.overlap in ("none", "free") or (numeric and 0 < self.overlap < 1),
            f"data.overlap={self.overlap} must be none, free, or a bound between 0 and 1",
        )
        require(self.order in ORDERS, f"data.order={self.order} is unknown: choose from {', '.join(ORDERS)}")
        margin, half = self.order_margin, self.digit_size // 2
        require(0 <= margin <= half, f"data.order_margin={margin} must lie in 0..{half}, half of data.digit_size")
        require(
            margin == 0 or self.order != "set",
            f"data.order_margin={margin} has no meaning with data.order=set: choose data.order_margin=0",
        )
        require(
            margin == 0 or not self.drop,
            f"data.order_margin={margin} cannot be kept with data.drop=true: choose data.order_margin=0",
        )
        require(self.tries >= 1, f"data.tries={self.tries} must be at least 1")
        if not self.drop:
            self._require_room()

    @property
    def bound(self) -> float:
        """On the intersection over union of any two frames."""
        return {"none": 0.0, "free": 1.0}[self.overlap] if isinstance(self.overlap, str) else float(self.overlap)

    @property
    def seats(self) -> Seats:
        """Where digits are put when random tries fail."""
        return self._seats(self.height, self.width)

    @property
    def spec(self) -> Spec:
        if self.bound == 1:
            return self._shape((0, 0))
        # Two frames whose corners are nearer than this on both axes overlap too much: no cell of this side holds two.
        side = max(1, self.digit_size - int(intersection(self.digit_size, self.bound) ** 0.5))
        return self._shape((-(-self.height // side), -(-self.width // side)))

    def _seats(self, height: int, width: int) -> Seats:
        return seats(height, width, self.digit_size, self.bound, self.order, self.order_margin)

    def _require_room(self) -> None:
        room = self.seats.total
        if self.max_digits <= room:
            return
        side = max(self.height, self.width)
        while self._seats(side, side).total < self.max_digits:
            side += 4
        raise ValueError(
            f"data.max_digits={self.max_digits} does not fit on {self.height}x{self.width} with "
            f"data.overlap={self.overlap} and data.order_margin={self.order_margin}: choose at most "
            f"data.max_digits={room}, or data.height={side} data.width={side}"
        )


@dataclass
class LineConfig(CountedConfig):
    """Digits side by side, touching or apart, read from left to right."""

    family: str = "line"
    height: int = 32
    width: int = 224
    max_digits: int = 5
    longest: int | None = 8
    closest: int = 20
    """Least advance from a digit's frame to the next, pixels; below the frame's side they may touch."""
    widest: int = 28
    """Largest advance, pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        closest, widest = self.closest, self.widest
        require(1 <= closest <= widest, f"data.closest={closest} must lie in 1..data.widest={widest}")
        needed = (self.max_digits - 1) * widest + self.digit_size
        require(
            needed <= self.width,
            f"data.max_digits={self.max_digits} does not fit on data.width={self.width} with data.widest={widest}: "
            f"choose data.width={needed}, or at most data.max_digits={1 + (self.width - self.digit_size) // widest}",
        )

    @property
    def spec(self) -> Spec:
        return self._shape((1, -(-self.width // self.closest)))


@dataclass
class OverlapConfig(CountedConfig):
    """Digits summed on top of each other, read as a set; its targets ascend (MultiMNIST, Sabour et al. 2017)."""

    family: str = "overlap"
    height: int = 36
    width: int = 36
    min_digits: int = 2
    shift: int = 4
    """Largest displacement from the middle either way on each axis, whole pixels; ink beyond the canvas is lost."""
    distinct: bool = False
    """Every digit of a scene has another class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.shift <= self.digit_size, f"data.shift={self.shift} must lie in 0..{self.digit_size}")
        require(
            not self.distinct or self.max_digits <= 10,
            f"data.max_digits={self.max_digits} with data.distinct=true: there are 10 classes",
        )

    @property
    def spec(self) -> Spec:
        return self._shape((0, 0))


@dataclass
class ClutteredConfig(DataConfig):
    """Three digits on a slope among fragments of others, read from left to right (Sonderby et al. 2015)."""

    family: str = "cluttered"
    fragments: int = 8
    """Pieces of 9x9 of other digits, of any split's but test."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.digit_size == 28, f"data.digit_size={self.digit_size}: the protocol of cluttered has 28")
        require(self.fragments >= 0, f"data.fragments={self.fragments} must be at least 0")

    @property
    def spec(self) -> Spec:
        return Spec(100, 100, 3, (1, 4))


@dataclass
class MixedConfig(DataConfig):
    """Scenes of several families; a smaller one's canvas lies at a random place of the largest."""

    family: str = "mixed"
    parts: dict[str, Any] = field(default_factory=dict)
    """Name -> a scene family's config. Of each only what its family adds counts; the rest is the mixture's."""
    weights: dict[str, float] = field(default_factory=dict)
    """Name -> how often, in proportion."""

    def __post_init__(self) -> None:
        super().__post_init__()
        names, weighed = ", ".join(self.parts), ", ".join(self.weights)
        require(bool(self.parts), "data.parts is empty: name at least one scene family")
        require(
            self.parts.keys() == self.weights.keys(),
            f"data.weights has {weighed or 'none'} but data.parts {names}: give each part a weight",
        )
        for name, weight in self.weights.items():
            require(weight >= 0, f"data.weights.{name}={weight} must be at least 0")
        require(sum(self.weights.values()) > 0, f"data.weights of {weighed} are all 0: give one a weight")
        shared = DataConfig()
        height, width = self.spec.height, self.spec.width
        for name, part in self.parts.items():
            require(part.family not in ("mixed", "folder"), f"data.parts.{name}: {part.family} cannot be mixed")
            for key in vars(shared).keys() - {"family", "augment", "digit_size"}:
                same = getattr(part, key) in (getattr(shared, key), getattr(self, key))
                require(same, f"data.parts.{name}.{key}={getattr(part, key)} has no effect: set data.{key}")
            size = part.digit_size
            require(size == self.digit_size, f"data.parts.{name}.digit_size={size} is not data.digit_size")
            lossy = isinstance(part, OverlapConfig) and (part.spec.height, part.spec.width) != (height, width)
            require(not lossy, f"data.parts.{name}: what leaves its frame must leave the canvas of {height}x{width}")

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
        return Spec(height, width, max(it.max_digits for it in specs), cells)


@dataclass
class FolderConfig(DataConfig):
    """Images and labels on disk: what `synthesise` wrote, or your own."""

    family: str = "folder"
    path: str = ""
    """The folder; `data.from=DIR` is short for `data=folder data.path=DIR`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.path), "data.path is empty: name a folder of images and labels, as data.from=DIR")


FAMILIES: dict[str, type[DataConfig]] = {
    "single": SingleConfig,
    "grid": GridConfig,
    "scatter": ScatterConfig,
    "line": LineConfig,
    "overlap": OverlapConfig,
    "cluttered": ClutteredConfig,
    "mixed": MixedConfig,
    "folder": FolderConfig,
}
