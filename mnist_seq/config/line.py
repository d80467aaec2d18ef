"""The scene family `line`: its keys, and the values that it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mnist_seq.config.data import Spec, VariableCountConfig
from mnist_seq.config.field_types import Fraction, NonNegativeInt, within
from mnist_seq.config.validation import check


@dataclass
class LineConfig(VariableCountConfig):
    """A number as it is written by hand: digits along a baseline, with points, commas and dashes; left to right."""

    reading_order = "left_to_right"

    family: str = "line"
    height: int = 32
    width: int = 256
    max_digits: Annotated[int, within(1, 100)] = 12
    p_empty: Fraction = 0.05
    """Probability that a scene has no digits, 0..1."""
    p_single: Fraction = 0.0
    """Probability that a line with digits has one, rather than a number uniform in min_digits..max_digits, 0..1."""
    p_scrawl: Fraction = 0.0
    """Probability that a scene without digits has scrawls (strokes, curves, faces, letters), 0..1."""
    p_mark: Fraction = 0.15
    """Probability that a mark that is not read (a point, a comma, a dash) follows a digit other than the last, 0..1."""
    p_final_mark: Fraction = 0.5
    """Probability that such a mark follows the last digit, 0..1."""
    min_gap: int = -3
    """Smallest gap between the ink of neighbours, pixels, at least gap_jitter - digit_size / 4; below 0 they
    overlap."""
    max_gap: int = 10
    """Largest such gap, pixels; all of a line's gaps shrink where it would not fit."""
    p_wide: Fraction = 0.0
    """Probability that the digits of a line stand far apart, 0..1: its gap is then in max_gap..max_wide_gap."""
    max_wide_gap: int = 40
    """Largest gap of such a line, pixels."""
    gap_jitter: NonNegativeInt = 2
    """Largest difference between a gap and the line's own, pixels."""
    slope: Annotated[float, within(0, 0.5)] = 0.06
    """Largest slope of the baseline to either side, pixels per pixel, 0..0.5."""
    jitter: NonNegativeInt = 1
    """Largest distance of a digit from the baseline, pixels."""
    bleed: NonNegativeInt = 8
    """How far a digit's frame may reach beyond the canvas, pixels, at most half of digit_size; ink there is lost."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            self.p_single == 0 or self.min_digits <= 1,
            f"data.p_single={self.p_single} contradicts data.min_digits={self.min_digits}: set data.p_single=0",
        )
        low, high = self.min_gap, self.max_gap
        lowest = -(self.digit_size // 4)
        check(
            low - self.gap_jitter >= lowest,
            f"data.min_gap={low} less data.gap_jitter={self.gap_jitter} must be at least {lowest}: further back, "
            "digits would change places",
        )
        check(low <= high, f"data.min_gap={low} must be at most data.max_gap={high}")
        check(high <= self.max_wide_gap, f"data.max_wide_gap={self.max_wide_gap} must be at least data.max_gap={high}")
        typical = 5 * self.digit_size // 7 + min(low, 0)  # MNIST's ink fills 20 of 28 pixels
        check(
            self.max_digits * typical <= self.width,
            f"data.max_digits={self.max_digits} do not fit on data.width={self.width}: choose "
            f"data.width={self.max_digits * typical}, or at most data.max_digits={self.width // typical}",
        )
        check(2 * self.bleed <= self.digit_size, f"data.bleed={self.bleed} must be at most {self.digit_size // 2}")

    @property
    def spec(self) -> Spec:
        return self._make_spec((0, 0))
