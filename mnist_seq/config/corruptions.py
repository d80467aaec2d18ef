"""Corruptions of whole scenes before a model reads them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mnist_seq.config.validation import check


@dataclass
class CorruptionConfig:
    """Corruption of scenes to measure robustness; none by default.

    Lengths are in pixels of a 28x28 frame, whatever `data.digit_size`.
    """

    rotation: float = 0.0
    """Rotation of each digit about the centre of its frame, to a random side, degrees, 0..180."""
    stroke: float = 0.0
    """Change of stroke width, pixels on each side, -1..1; below 0 strokes get thinner."""
    blur: float = 0.0
    """Standard deviation of a Gaussian blur of the image, pixels, 0..5."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on every pixel, as a fraction of white, 0..1."""
    contrast: float = 1.0
    """Factor on all grey levels, 0.02..1."""

    def __post_init__(self) -> None:
        limits = {"rotation": (0, 180), "stroke": (-1, 1), "blur": (0, 5), "noise": (0, 1), "contrast": (0.02, 1)}
        for key, (low, high) in limits.items():
            value = getattr(self, key)
            check(low <= value <= high, f"corruption.{key}={value} must lie in {low}..{high}")

    @property
    def non_default(self) -> dict[str, float]:
        """The corruptions that are not at their defaults, by name."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}
