"""Where scattered digits go: random tries first, seats where they fail. Exact counts, always.

Shapes   B scenes   N slots for digits   A attempts at a layout   T tries a digit   R rows of seats   M seats

A layout is begun A times. Each time the digits are placed one after the other at the first of T uniform places that
does not overlap the earlier ones too much (random sequential adsorption, Renyi 1958); the first layout that holds all
digits in a clear order counts. A scene without one is seated: digits take a uniformly random choice of the seats of
`config.seats`, the slack of the canvas is shared uniformly among the rows, that of each row among its digits, and each
digit lies at a uniform height in what is left of its row. No step waits for a device: none depends on what was drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mnist_seq.config import ScatterConfig
from mnist_seq.config.row_packing import max_intersection
from mnist_seq.data import reading_order, rng

_NUM_RESTARTS = 4
_UNPLACED = -(2**20)
"""Coordinate of a digit that has no place, far from all."""


def place_digits(ids: Tensor, counts: Tensor, config: ScatterConfig, seed: int, split: str) -> tuple[Tensor, Tensor]:
    """Upper left corners of the frames, B N 2, int64, and which of the N are there, B N, bool.

    Args:
        ids: B.
        counts: B, digits asked for. Fewer are there only with `config.drop_unplaced`.
    """
    asked = torch.arange(config.max_digits, device=ids.device) < counts[:, None]
    corners, found = _random_placements(ids, config, seed, split)
    if config.drop_unplaced:
        return corners[:, 0].clamp(min=0), found[:, 0] & asked
    side, wanted = config.digit_size, asked[:, None].expand_as(found)
    held = (found | ~wanted).all(-1) & reading_order.has_margin(
        config.order, config.order_margin, corners, wanted, side
    )
    first = held.byte().argmax(1)
    tried = corners[torch.arange(len(ids), device=ids.device), first]
    corners = torch.where(held.any(1)[:, None, None], tried, _fallback_placement(ids, counts, config, seed, split))
    return corners * asked[..., None], asked


def _random_placements(ids: Tensor, config: ScatterConfig, seed: int, split: str) -> tuple[Tensor, Tensor]:
    """Layouts by random tries: corners, B A N 2, int64, and which were found a place, B A N."""
    attempts, slots, tries = 1 if config.drop_unplaced else _NUM_RESTARTS, config.max_digits, config.max_attempts
    columns, rows = config.width - config.digit_size + 1, config.height - config.digit_size + 1
    drawn = rng.integers(rng.key(seed, split, "place"), ids, attempts * slots * tries, columns * rows)
    drawn = drawn.view(len(ids), attempts, slots, tries).int()
    xs, ys = drawn % columns, drawn // columns
    corners = xs.new_full((len(ids), attempts, slots, 2), _UNPLACED)
    found = torch.ones_like(corners[..., 0], dtype=torch.bool)
    for slot in range(slots):
        x, y = xs[:, :, slot], ys[:, :, slot]
        free = ~_overlaps(x, y, corners[:, :, :slot], config).any(-1)
        first = free.byte().argmax(-1, keepdim=True)
        found[:, :, slot] = free.any(-1)
        there = found[:, :, slot, None]
        corners[:, :, slot, 0] = torch.where(there, x.gather(-1, first), _UNPLACED)[..., 0]
        corners[:, :, slot, 1] = torch.where(there, y.gather(-1, first), _UNPLACED)[..., 0]
    return corners.long(), found


def _overlaps(x: Tensor, y: Tensor, placed: Tensor, config: ScatterConfig) -> Tensor:
    """Which tries, B A T, overlap which placed digits, B A S 2, by more than the bound; B A T S."""
    side = config.digit_size
    across = (side - (x[..., None] - placed[..., None, :, 0]).abs()).clamp(min=0)
    down = (side - (y[..., None] - placed[..., None, :, 1]).abs()).clamp(min=0)
    return across * down > max_intersection(side, config.max_iou)


def _fallback_placement(ids: Tensor, counts: Tensor, config: ScatterConfig, seed: int, split: str) -> Tensor:
    """A layout from seats; corners, B N 2, int64."""
    seats, slots = config.row_packing, config.max_digits
    rows = len(seats.row_capacities)
    slot = torch.arange(slots, device=ids.device)
    row_of_seat = torch.tensor(
        [row for row, many in enumerate(seats.row_capacities) for _ in range(many)], device=ids.device
    )
    rooms = torch.tensor(
        [(seats.max_corner[0] - row * seats.row_offset) // seats.x_step for row in range(rows)], device=ids.device
    )

    drawn = rng.bits(rng.key(seed, split, "seat"), ids, seats.capacity)
    taken = drawn.argsort(dim=1, stable=True).argsort(1) < counts[:, None]
    in_row = torch.zeros(len(ids), rows, dtype=torch.int64, device=ids.device)
    in_row.index_add_(1, row_of_seat, taken.long())
    ends = in_row.cumsum(1)
    row = (slot[:, None] >= ends[:, None]).sum(-1).clamp(max=rows - 1)  # B N, ascending
    place_in_row = slot - (ends - in_row).gather(1, row)

    spare = rooms[row] - (in_row.gather(1, row) - 1) * seats.pitch
    shares = rng.integers(rng.key(seed, split, "spread"), ids, slots, spare.clamp(min=0) + 1)
    line = row.masked_fill(slot >= counts[:, None], rows)  # slots without a digit are in no row
    shares = (line * 2**32 + shares).sort(1).values % 2**32  # ascending in each row
    x = seats.x_step * (place_in_row * seats.pitch + shares) + row * seats.row_offset

    spare_height = seats.max_corner[1] - (rows - 1) * seats.row_pitch
    tops = rng.integers(rng.key(seed, split, "rows"), ids, rows, spare_height + 1).sort(1).values
    room = torch.cat([tops[:, 1:], torch.full_like(tops[:, :1], spare_height)], 1) - tops
    below = rng.integers(rng.key(seed, split, "below"), ids, slots, room.clamp(max=seats.jitter).gather(1, row) + 1)
    y = tops.gather(1, row) + row * seats.row_pitch + below
    return torch.stack([y, x] if seats.transposed else [x, y], -1)
