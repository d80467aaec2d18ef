"""Scattered digits: how far apart they are, and the order in which they are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from mnist_seq.config.data import Spec, VariableCountConfig
from mnist_seq.config.field_types import PositiveInt, one_of
from mnist_seq.config.row_packing import RowPacking, max_intersection, pack_rows
from mnist_seq.config.validation import check
from mnist_seq.errors import UserError

ORDERS = ("left_to_right", "raster", "rows", "set")


@dataclass
class ScatterConfig(VariableCountConfig):
    """Digits at random positions, with disjoint frames or a bounded overlap."""

    family: str = "scatter"
    min_digits: int = 0
    overlap: Any = "none"
    """Overlap of any two frames: `none`, the largest IoU, above 0 and below 1, or `free`."""
    order: Annotated[str, one_of(ORDERS)] = "rows"
    """Reading order: left_to_right, raster, rows or set."""
    order_margin: int = 2
    """Reject layouts whose reading order changes if a digit moves by less than this, pixels, 0..digit_size/2."""
    max_attempts: PositiveInt = 16
    """Random positions tried per digit before its layout starts over."""
    drop_unplaced: bool = False
    """Leave out a digit without a position after max_attempts; counts are then not uniform."""

    def __post_init__(self) -> None:
        super().__post_init__()
        numeric = isinstance(self.overlap, (int, float)) and not isinstance(self.overlap, bool)
        check(
            self.overlap in ("none", "free") or (numeric and 0 < self.overlap < 1),
            f"data.overlap={self.overlap} must be none, free, or a bound between 0 and 1",
        )
        margin, half = self.order_margin, self.digit_size // 2
        check(0 <= margin <= half, f"data.order_margin={margin} must lie in 0..{half}, half of data.digit_size")
        check(
            margin == 0 or self.order != "set",
            f"data.order_margin={margin} has no meaning with data.order=set: choose data.order_margin=0",
        )
        check(
            margin == 0 or not self.drop_unplaced,
            f"data.order_margin={margin} cannot be kept with data.drop_unplaced=true: choose data.order_margin=0",
        )
        if not self.drop_unplaced:
            self._check_capacity()

    @property
    def max_iou(self) -> float:
        """Largest intersection over union of any two frames, 0..1."""
        return {"none": 0.0, "free": 1.0}[self.overlap] if isinstance(self.overlap, str) else float(self.overlap)

    @property
    def row_packing(self) -> RowPacking:
        """The positions for digits when random attempts fail."""
        return self._pack_rows(self.height, self.width)

    @property
    def spec(self) -> Spec:
        ordered = self.order != "set"
        if self.max_iou == 1:
            return self._make_spec((0, 0), ordered)
        # Two frames whose corners are nearer than this on both axes overlap too much: no cell of this side holds two.
        side = max(1, self.digit_size - math.isqrt(max_intersection(self.digit_size, self.max_iou)))
        return self._make_spec((-(-self.height // side), -(-self.width // side)), ordered)

    def _pack_rows(self, height: int, width: int) -> RowPacking:
        return pack_rows(height, width, self.digit_size, self.max_iou, self.order, self.order_margin)

    def _check_capacity(self) -> None:
        room = self.row_packing.capacity
        if self.max_digits <= room:
            return
        side = max(self.height, self.width)
        while self._pack_rows(side, side).capacity < self.max_digits:
            side += 4
        raise UserError(
            f"data.max_digits={self.max_digits} does not fit on {self.height}x{self.width} with "
            f"data.overlap={self.overlap} and data.order_margin={self.order_margin}: choose at most "
            f"data.max_digits={room}, or data.height={side} data.width={side}"
        )
