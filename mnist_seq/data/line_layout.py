"""Positions of the digits and marks of a handwritten line: one hand's spacing along a sloping baseline.

Distances are between the ink of neighbours, not between their frames, and whole pixels, so that they are equal on every
device.

Shapes   B scenes   N slots for digits   E elements of a line: each digit, then the mark that may follow it, E = 2N
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mnist_seq.config import LineConfig
from mnist_seq.data import rng
from mnist_seq.data.digits import Pool
from mnist_seq.data.layout_types import Layout, Marks
from mnist_seq.data.marks import NUM_MARKS, mark_boxes
from mnist_seq.data.sampling import sample_counts, sample_digits
from mnist_seq.data.scrawls import NUM_SCRAWL_KINDS, SCRAWLS_OF_A_KIND

_MARGIN = 2
"""Least distance between ink and the left and right edges, pixels."""
_MAX_SCRAWLS = 6
"""Most scrawls of a scene without digits."""
_FIXED_POINT = 1024
"""Slopes are multiples of 1 / 1024: rounded products of floats could differ between devices."""


def line(ids: Int[Tensor, "B"], config: LineConfig, pool: Pool, seed: int) -> Layout:
    """Digits and marks as one hand writes them along a baseline, from left to right; N = max_digits.

    The number of digits is 0 with probability `p_empty`, else 1 with probability `p_single`, else uniform in
    min_digits..max_digits. After the last digit comes a mark with probability `p_final_mark`, after each other digit
    with probability `p_mark`, uniform over the marks, where the line has room for it. A scene without digits has no
    marks, which alone could be digits, but one to six scrawls of one kind with probability `p_scrawl`.
    `place_on_line` states how positions are distributed.
    """
    slots = config.max_digits
    indices = sample_digits(ids, slots, pool, seed)
    counts = sample_counts(ids, config.min_digits, slots, pool, seed)
    is_single = rng.uniform(rng.key(seed, pool.split, "single"), ids, 1)[:, 0] < config.p_single
    is_empty = rng.uniform(rng.key(seed, pool.split, "blank"), ids, 1)[:, 0] < config.p_empty
    counts = torch.where(is_single, 1, counts) * ~is_empty
    slot = torch.arange(slots, device=ids.device)
    present = slot < counts[:, None]
    boxes = mark_boxes(pool.digit_size, ids.device)
    marks = rng.integers(rng.key(seed, pool.split, "mark"), ids, slots, NUM_MARKS)
    last = counts[:, None] - 1
    probability = torch.where(slot == last, config.p_final_mark, config.p_mark)
    marked = (rng.uniform(rng.key(seed, pool.split, "marked"), ids, slots) < probability) & (slot <= last)
    is_scrawled = (counts == 0) & (rng.uniform(rng.key(seed, pool.split, "scrawled"), ids, 1)[:, 0] < config.p_scrawl)
    kind = rng.integers(rng.key(seed, pool.split, "kind of scrawl"), ids, 1, NUM_SCRAWL_KINDS)
    scrawls = rng.integers(rng.key(seed, pool.split, "scrawl"), ids, slots, SCRAWLS_OF_A_KIND)
    scrawls = NUM_MARKS + kind * SCRAWLS_OF_A_KIND + scrawls
    num_scrawls = 1 + rng.integers(rng.key(seed, pool.split, "scrawls"), ids, 1, min(slots, _MAX_SCRAWLS))
    marks = torch.where(is_scrawled[:, None], scrawls, marks)
    marked = torch.where(is_scrawled[:, None], slot < num_scrawls, marked)
    ink = torch.stack([pool.boxes[indices], boxes[marks]], 2).flatten(1, 2)
    elements = torch.stack([present, marked], 2).flatten(1)
    corners, elements = place_on_line(ids, ink, elements, config, seed, pool.split)
    digit_corners, mark_corners = corners.unflatten(1, (slots, 2)).unbind(2)
    marked = elements[:, 1::2]
    return Layout(indices, digit_corners, present, marks=Marks(marks, mark_corners, marked), bleed=config.bleed)


def place_on_line(
    ids: Int[Tensor, "B"],
    ink: Int[Tensor, "B E 4"],
    present: Bool[Tensor, "B E"],
    config: LineConfig,
    seed: int,
    split: str,
) -> tuple[Int[Tensor, "B E 2"], Bool[Tensor, "B E"]]:
    """Place the elements of each line, from left to right.

    A line's gap is uniform in min_gap..max_gap, or with probability `p_wide` in max_gap..max_wide_gap, and each of its
    gaps lies within `gap_jitter` of that. A line that would not fit on the canvas loses its marks, and if it still does
    not fit, all of its gaps shrink. It starts at any x and height that fits, its baseline has a slope uniform in
    [-slope, slope], and each element lies within `jitter` of it.

    Args:
        ids: scene ids, int64.
        ink: box of each element's ink within its frame, x0 y0 x1 y1 in pixels, half open.
        present: which elements a line has.

    Returns:
        x y of the frames' upper left corners in pixels, and which elements the line has kept.
    """

    def draw(purpose: str, slots: int, low: int, high: int | Tensor) -> Tensor:
        return low + rng.integers(rng.key(seed, split, "line", purpose), ids, slots, high - low + 1)

    num_elements, size, bleed = present.shape[1], config.digit_size, config.bleed
    gaps = draw("gap", 1, config.min_gap, config.max_gap)
    is_wide = rng.uniform(rng.key(seed, split, "line", "is wide"), ids, 1) < config.p_wide
    gaps = torch.where(is_wide, draw("wide gap", 1, config.max_gap, config.max_wide_gap), gaps)
    gaps = gaps + draw("gap jitter", num_elements, -config.gap_jitter, config.gap_jitter)
    available = config.width - 2 * _MARGIN
    is_mark = torch.arange(num_elements, device=ids.device) % 2 == 1
    widths, inner = _widths(ink, present)
    crowded = (widths + gaps * inner).sum(1) > available
    present = present & ~(is_mark & crowded[:, None])
    widths, inner = _widths(ink, present)
    excess = ((widths + gaps * inner).sum(1) - available).clamp(min=0)
    gaps = (gaps - -(-excess // inner.sum(1).clamp(min=1))[:, None]) * inner
    ends = (widths + gaps).cumsum(1)
    start = _MARGIN + draw("start", 1, 0, (available - ends[:, -1:]).clamp(min=0))
    x = (start + ends - widths - ink[..., 0]).clamp(-bleed, config.width - size + bleed)

    slack = config.height - size + bleed
    base = draw("base", 1, -(bleed // 2), slack - bleed + bleed // 2)
    steepest = round(config.slope * _FIXED_POINT)
    rise = draw("slope", 1, -steepest, steepest) * (x - config.width // 2) // _FIXED_POINT
    y = (base + rise + draw("jitter", num_elements, -config.jitter, config.jitter)).clamp(-bleed, slack)
    return torch.stack([x, y], -1) * present[..., None], present


def _widths(ink: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the width of each element's ink, and which elements have a gap before them, all but the first; B E."""
    return (ink[..., 2] - ink[..., 0]) * present, present & (present.cumsum(1) > 1)
