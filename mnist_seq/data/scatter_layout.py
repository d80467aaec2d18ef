"""Place scattered digits: by random tries first, else into rows of slots. No digit is left out, unless `drop_unplaced`.

Random sequential adsorption (Renyi 1958): a layout is started A times; each time the digits are placed one after the
other, each at the first of T uniform positions that does not overlap earlier digits too much. The first layout that
holds all digits in a clear reading order is used. If there is none, `config.row_packing` places the digits: they
take a random choice of its slots, the free height of the canvas is shared uniformly at random among the rows, the free
width of each row among its digits, and each digit gets a uniform height within its row. No step depends on the result
of an earlier one, so the CPU never waits for the device.

Shapes   B scenes   N slots for digits   A restarts   T tries per digit   R rows   J digits placed so far
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mnist_seq.config import ScatterConfig
from mnist_seq.config.row_packing import max_intersection
from mnist_seq.data import reading_order, rng

_NUM_RESTARTS = 4
_UNPLACED = -(2**20)
"""Coordinate of a digit without a position, far from all others."""


def place_digits(
    ids: Int[Tensor, "B"], counts: Int[Tensor, "B"], config: ScatterConfig, seed: int, split: str
) -> tuple[Int[Tensor, "B N 2"], Bool[Tensor, "B N"]]:
    """Place `counts` digits per scene on a canvas of `config`.

    Args:
        ids: scene ids, int64.
        counts: digits per scene; fewer are placed only with `config.drop_unplaced`.

    Returns:
        x y of the frames' upper left corners in pixels, and which of the N slots hold a digit.
    """
    requested = torch.arange(config.max_digits, device=ids.device) < counts[:, None]
    corners, placed = _random_placements(ids, config, seed, split)
    if config.drop_unplaced:
        return corners[:, 0].clamp(min=0), placed[:, 0] & requested
    present = requested[:, None].expand_as(placed)
    complete = (placed | ~present).all(-1) & reading_order.has_margin(
        config.order, config.order_margin, corners, present, config.digit_size
    )
    first = complete.byte().argmax(1)
    random_corners = corners[torch.arange(len(ids), device=ids.device), first]
    fallback_corners = _fallback_placement(ids, counts, config, seed, split)
    corners = torch.where(complete.any(1)[:, None, None], random_corners, fallback_corners)
    return corners * requested[..., None], requested


def _random_placements(ids: Tensor, config: ScatterConfig, seed: int, split: str) -> tuple[Tensor, Tensor]:
    """Place digits by random tries: corners, B A N 2, int64, and which digits found a position, B A N."""
    restarts, slots, tries = 1 if config.drop_unplaced else _NUM_RESTARTS, config.max_digits, config.max_attempts
    num_x, num_y = config.width - config.digit_size + 1, config.height - config.digit_size + 1
    positions = rng.integers(rng.key(seed, split, "place"), ids, restarts * slots * tries, num_x * num_y)
    positions = positions.view(len(ids), restarts, slots, tries).int()
    xs, ys = positions % num_x, positions // num_x
    corners = xs.new_full((len(ids), restarts, slots, 2), _UNPLACED)
    placed = torch.ones_like(corners[..., 0], dtype=torch.bool)
    for slot in range(slots):
        x, y = xs[:, :, slot], ys[:, :, slot]
        free = ~_overlaps(x, y, corners[:, :, :slot], config).any(-1)
        first = free.byte().argmax(-1, keepdim=True)
        placed[:, :, slot] = free.any(-1)
        is_placed = placed[:, :, slot, None]
        corners[:, :, slot, 0] = torch.where(is_placed, x.gather(-1, first), _UNPLACED)[..., 0]
        corners[:, :, slot, 1] = torch.where(is_placed, y.gather(-1, first), _UNPLACED)[..., 0]
    return corners.long(), placed


def _overlaps(x: Tensor, y: Tensor, placed_corners: Tensor, config: ScatterConfig) -> Tensor:
    """Return which tries, B A T, overlap which placed digits, B A J 2, by more than the bound; B A T J."""
    size = config.digit_size
    overlap_x = (size - (x[..., None] - placed_corners[..., None, :, 0]).abs()).clamp(min=0)
    overlap_y = (size - (y[..., None] - placed_corners[..., None, :, 1]).abs()).clamp(min=0)
    return overlap_x * overlap_y > max_intersection(size, config.max_iou)


def _fallback_placement(ids: Tensor, counts: Tensor, config: ScatterConfig, seed: int, split: str) -> Tensor:
    """Place digits into the slots of `config.row_packing`; corners, B N 2, int64."""
    packing, slots = config.row_packing, config.max_digits
    rows = len(packing.row_capacities)
    slot = torch.arange(slots, device=ids.device)
    row_of_position = torch.arange(rows).repeat_interleave(torch.tensor(packing.row_capacities)).to(ids.device)
    row_starts = torch.arange(rows, device=ids.device) * packing.row_offset
    row_widths = (packing.max_corner[0] - row_starts) // packing.x_step

    shuffled = rng.bits(rng.key(seed, split, "seat"), ids, packing.capacity)
    is_taken = shuffled.argsort(dim=1, stable=True).argsort(1) < counts[:, None]
    row_counts = is_taken.new_zeros(len(ids), rows, dtype=torch.int64).index_add_(1, row_of_position, is_taken.long())
    row_ends = row_counts.cumsum(1)
    row = (slot[:, None] >= row_ends[:, None]).sum(-1).clamp(max=rows - 1)  # B N, ascending
    index_in_row = slot - (row_ends - row_counts).gather(1, row)

    free_width = row_widths[row] - (row_counts.gather(1, row) - 1) * packing.pitch
    shares = rng.integers(rng.key(seed, split, "spread"), ids, slots, free_width.clamp(min=0) + 1)
    row_key = row.masked_fill(slot >= counts[:, None], rows)  # slots without a digit are in no row
    shares = (row_key * 2**32 + shares).sort(1).values % 2**32  # ascending in each row
    x = packing.x_step * (index_in_row * packing.pitch + shares) + row_starts[row]

    free_height = packing.max_corner[1] - (rows - 1) * packing.row_pitch
    tops = rng.integers(rng.key(seed, split, "rows"), ids, rows, free_height + 1).sort(1).values
    row_slack = torch.cat([tops[:, 1:], torch.full_like(tops[:, :1], free_height)], 1) - tops
    jitter = row_slack.clamp(max=packing.jitter).gather(1, row)
    below_top = rng.integers(rng.key(seed, split, "below"), ids, slots, jitter + 1)
    y = tops.gather(1, row) + row * packing.row_pitch + below_top
    return torch.stack([y, x] if packing.transposed else [x, y], -1)
