"""Corruptions of whole scenes before a model reads them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from mnist_seq.config.field_types import Fraction, within
from mnist_seq.config.validation import Validated


@dataclass
class CorruptionConfig(Validated):
    """Corruption of scenes to measure robustness; none by default.

    Lengths are in pixels of a 28x28 frame, whatever `data.digit_size`.
    """

    key_prefix = "corruption."

    rotation: Annotated[float, within(0, 180)] = 0.0
    """Rotation of each digit about the centre of its frame, to a random side, degrees, 0..180."""
    stroke: Annotated[float, within(-1, 1)] = 0.0
    """Change of stroke width, pixels on each side, -1..1; below 0 strokes get thinner."""
    blur: Annotated[float, within(0, 5)] = 0.0
    """Standard deviation of a Gaussian blur of the image, pixels, 0..5."""
    noise: Fraction = 0.0
    """Standard deviation of Gaussian noise on every pixel, as a fraction of white, 0..1."""
    contrast: Annotated[float, within(0.02, 1)] = 1.0
    """Factor on all grey levels, 0.02..1."""

    @property
    def non_default(self) -> dict[str, float]:
        """The corruptions that are not at their defaults, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}
