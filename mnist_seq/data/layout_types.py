"""What a layout function returns: the positions of digits, distractors and marks.

Shapes   B scenes   N slots for digits   D distractors   K slots for marks
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor


class Distractors(NamedTuple):
    """Pieces of digits beneath the digits of a scene; later ones cover earlier ones."""

    indices: Int[Tensor, "B D"]
    """Indices into the pool's clutter."""
    crops: Int[Tensor, "B D 2"]
    """x y of the piece's upper left corner in the image that it is cut from, pixels."""
    corners: Int[Tensor, "B D 2"]
    """x y of the piece's upper left corner on the canvas, pixels."""
    present: Bool[Tensor, "B D"]


class Marks(NamedTuple):
    """Ink between and after the digits of a scene that is not read, such as points and dashes."""

    indices: Int[Tensor, "B K"]
    """Indices into `mark_images`."""
    corners: Int[Tensor, "B K 2"]
    """x y of the frames' upper left corners, pixels; ink outside the canvas is lost."""
    present: Bool[Tensor, "B K"]


class Layout(NamedTuple):
    """What a batch of scenes shows, before rendering. Slots with a digit come first, in reading order."""

    indices: Int[Tensor, "B N"]
    """Indices into the pool."""
    corners: Int[Tensor, "B N 2"]
    """x y of the frames' upper left corners, pixels; ink outside the canvas is lost."""
    present: Bool[Tensor, "B N"]
    """Which slots hold a digit."""
    distractors: Distractors | None = None
    marks: Marks | None = None
    bleed: int = 0
    """How far a frame may reach beyond the canvas, pixels."""
    take_maximum: bool = False
    """Where digits overlap, the more ink of the two counts, not the sum."""
