"""Corruptions of scenes: what paper, print, light, lens and sensor do to writing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from mnist_seq.config.field_types import Fraction, within
from mnist_seq.config.validation import Validated, check

DIGIT_CORRUPTIONS = ("rotation", "stroke")
"""Keys that act on digits before rendering; the others act on rendered scenes."""


@dataclass
class CorruptionConfig(Validated):
    """Corruption of scenes, to train on or to measure robustness; none by default.

    Lengths are in pixels of a 28x28 frame, whatever `data.digit_size`.
    """

    key_prefix = "corruptions."

    random: bool = False
    """Draw each amount for every scene, uniform between none and the value given; false applies the value itself."""
    rotation: Annotated[float, within(0, 180)] = 0.0
    """Rotation of each digit about the centre of its frame, to a random side, degrees, 0..180; not with `random`."""
    stroke: Annotated[float, within(-1, 1)] = 0.0
    """Change of stroke width, pixels on each side, -1..1; below 0 strokes get thinner; not with `random`."""
    crop: Fraction = 0.0
    """Crop to the ink with a margin of this fraction of its height, 0..1, and scale to the canvas; with `random`,
    up to a tenth of its height is cut off too, if `level` is true."""
    shear: Annotated[float, within(0, 45)] = 0.0
    """Slant of the whole writing, to a random side, degrees, 0..45; needs `crop`."""
    stretch: Fraction = 0.0
    """Change of the writing's width, 0..1: it is multiplied or divided by 1 + this; needs `crop`."""
    sharpen: Fraction = 0.0
    """Steepening of the edges of strokes, 0..1; 1 makes them four times as steep."""
    contrast: Annotated[float, within(0.02, 1)] = 1.0
    """Factor on the ink, 0.02..1."""
    print: Fraction = 0.0
    """Darkness of a printed pattern behind the digits, as a fraction of full ink, 0..1."""
    ruling: Fraction = 0.0
    """Darkness of ruled lines and edges of boxes, as a fraction of full ink, 0..1."""
    light: Annotated[float, within(0, 0.9)] = 0.0
    """Loss of light in the darkest part, by a gradient and the edge of a shadow, as a fraction, 0..0.9."""
    blur: Annotated[float, within(0, 5)] = 0.0
    """Standard deviation of a Gaussian blur, pixels, 0..5."""
    noise: Fraction = 0.0
    """Standard deviation of Gaussian noise on every pixel, as a fraction of white, 0..1."""
    level: bool = False
    """Stretch the grey levels afterwards, as the preprocessing of a picture does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in DIGIT_CORRUPTIONS if self.random else ():
            value = getattr(self, key)
            check(value == 0, f"corruptions.{key}={value} cannot be drawn at random: set corruptions.random=false")
        for key in () if self.crop else ("shear", "stretch"):
            value = getattr(self, key)
            check(value == 0, f"corruptions.{key}={value} would move digits off the canvas: set corruptions.crop=0.5")

    @property
    def non_default(self) -> dict[str, float]:
        """The corruptions that are not at their defaults, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}
