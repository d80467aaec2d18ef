"""What scenes are put through before they are read."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mnist_seq.config.validation import check


@dataclass
class CorruptionConfig:
    """What is done to scenes to see what a reader can bear; nothing by default.

    Lengths are in pixels of a 28x28 frame, whatever `data.digit_size`.
    """

    rotation: float = 0.0
    """Each digit is turned about its frame's middle, by so many degrees this way or that."""
    stroke: float = 0.0
    """Strokes grow, or below 0 shrink: by a share of what one pixel more, or less, all around would change."""
    blur: float = 0.0
    """Standard deviation of a blur of the whole picture, pixels."""
    noise: float = 0.0
    """Standard deviation of noise on every pixel of the picture, as a share of white."""
    contrast: float = 1.0
    """What grey levels are multiplied by."""

    def __post_init__(self) -> None:
        limits = {"rotation": (0, 180), "stroke": (-1, 1), "blur": (0, 5), "noise": (0, 1), "contrast": (0.02, 1)}
        for key, (low, high) in limits.items():
            value = getattr(self, key)
            check(low <= value <= high, f"corruption.{key}={value} must lie in {low}..{high}")

    @property
    def non_default(self) -> dict[str, float]:
        """What is not left as it is."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}
