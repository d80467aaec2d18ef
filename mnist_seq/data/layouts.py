"""Scene families as pure functions: ids -> which digits stand where, in reading order.

Shapes   B scenes   N slots for digits   H W canvas   F fragments
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq.config import (
    ClutteredConfig,
    GridConfig,
    LineConfig,
    MixedConfig,
    OverlapConfig,
    ScatterConfig,
    SingleConfig,
    Spec,
)
from mnist_seq.data import order, rng
from mnist_seq.data.digits import Pool
from mnist_seq.data.placing import place

FRAGMENT = 9
"""Side of a fragment, pixels."""


class Fragments(NamedTuple):
    """Pieces of digits that lie under the digits of a batch of scenes, each over those before it."""

    sources: Tensor
    """B F, int64: places in the pool's clutter."""
    cuts: Tensor
    """B F 2, int64: x y of the upper left corner in the digit that it is cut from, pixels."""
    corners: Tensor
    """B F 2, int64: x y of the upper left corner on the canvas, pixels."""
    present: Tensor
    """B F, bool."""


class Layout(NamedTuple):
    """A batch of scenes before a pixel of them is drawn. The digits that are there come first."""

    chosen: Tensor
    """B N, int64: places in the pool."""
    corners: Tensor
    """B N 2, int64: x y of the upper left corners of the frames, pixels; ink outside the canvas is lost."""
    present: Tensor
    """B N, bool."""
    fragments: Fragments | None = None
    overhang: int = 0
    """How far a frame may reach beyond the canvas, pixels."""


Family = Callable[[Tensor, Any, Pool, int], Layout]
"""(ids, config, pool, seed) -> Layout: a function of these and of nothing else."""


def single(ids: Tensor, config: SingleConfig, pool: Pool, seed: int) -> Layout:
    """One digit that fills the canvas: in training any, elsewhere each of the pool once before one comes again."""
    layout = grid(ids, GridConfig(digit_size=config.digit_size, rows=1, cols=1), pool, seed)
    if pool.split == "train":
        return layout
    everyone = torch.arange(len(pool), device=ids.device)
    turns = rng.bits(rng.key(seed, pool.split, "turn"), everyone, 1)[:, 0].argsort(stable=True)
    return layout._replace(chosen=turns[ids % len(pool)][:, None])


def grid(ids: Tensor, config: GridConfig, pool: Pool, seed: int) -> Layout:
    """A digit in each cell, or none with chance `empty`; read in raster order."""
    cells = config.rows * config.cols
    chosen = _choose(ids, cells, pool, seed)
    present = rng.uniform(rng.key(seed, pool.split, "empty"), ids, cells) >= config.empty
    cell = torch.arange(cells, device=ids.device)
    corners = torch.stack([cell % config.cols, cell // config.cols], -1) * pool.side
    return _in_order("raster", Layout(chosen, corners.expand(len(ids), -1, -1), present), pool)


def scatter(ids: Tensor, config: ScatterConfig, pool: Pool, seed: int) -> Layout:
    """N digits at random places, their frames apart or overlapping within a bound."""
    counts = _count(ids, config.min_digits, config.max_digits, pool, seed)
    corners, present = place(ids, counts, config, seed, pool.split)
    return _in_order(config.order, Layout(_choose(ids, config.max_digits, pool, seed), corners, present), pool)


def line(ids: Tensor, config: LineConfig, pool: Pool, seed: int) -> Layout:
    """N digits side by side at random advances and heights, the whole line at a random place."""
    slots = config.max_digits
    counts = _count(ids, config.min_digits, slots, pool, seed)
    present = torch.arange(slots, device=ids.device) < counts[:, None]
    steps = rng.integers(rng.key(seed, pool.split, "advance"), ids, slots, config.widest - config.closest + 1)
    steps = (steps + config.closest) * present
    steps[:, 0] = 0
    slack = config.width - pool.side - steps.sum(1, keepdim=True)
    begin = rng.integers(rng.key(seed, pool.split, "begin"), ids, 1, slack + 1)
    tops = rng.integers(rng.key(seed, pool.split, "top"), ids, slots, config.height - pool.side + 1)
    corners = torch.stack([begin + steps.cumsum(1), tops], -1) * present[..., None]
    return Layout(_choose(ids, slots, pool, seed), corners, present)


def overlap(ids: Tensor, config: OverlapConfig, pool: Pool, seed: int) -> Layout:
    """N digits in the middle of the canvas, each shifted by whole pixels (Sabour et al. 2017); digits ascend."""
    slots = config.max_digits
    counts = _count(ids, config.min_digits, slots, pool, seed)
    present = torch.arange(slots, device=ids.device) < counts[:, None]
    chosen = _choose_distinct(ids, slots, pool, seed) if config.distinct else _choose(ids, slots, pool, seed)
    shifts = rng.integers(rng.key(seed, pool.split, "shift"), ids, 2 * slots, 2 * config.shift + 1) - config.shift
    middle = torch.tensor([(config.width - pool.side) // 2, (config.height - pool.side) // 2], device=ids.device)
    beyond = [config.shift - (extent - pool.side) // 2 for extent in (config.width, config.height)]
    layout = Layout(chosen, middle + shifts.view(-1, slots, 2), present, overhang=max(0, *beyond))
    return _in_order("set", layout, pool)


def cluttered(ids: Tensor, config: ClutteredConfig, pool: Pool, seed: int) -> Layout:
    """Three digits edge to edge on a slope over fragments of others (Sonderby et al. 2015)."""
    drawn = {
        name: rng.integers(rng.key(seed, pool.split, name), ids, 1, many)
        for name, many in (("begin", 16), ("top", 100), ("slope", 28))
    }
    digit = torch.arange(3, device=ids.device)
    x = drawn["begin"] + digit * pool.side  # half of what three digits leave free, and -8 to 7
    y = (drawn["top"] + (drawn["slope"] - 14) * digit).clamp(0, 100 - pool.side)
    present = torch.ones_like(x, dtype=torch.bool)
    fragments = _fragments(ids, config.fragments, pool, seed) if config.fragments else None
    return Layout(_choose(ids, 3, pool, seed), torch.stack([x, y], -1), present, fragments)


def mixed(ids: Tensor, config: MixedConfig, pool: Pool, seed: int) -> Layout:
    """Each scene is of one family, drawn by weight; a smaller canvas lies at a random place of the largest."""
    spec, total = config.spec, sum(config.weights.values())
    below, which = 0.0, torch.zeros_like(ids)
    drawn = rng.uniform(rng.key(seed, pool.split, "part"), ids, 1)[:, 0]
    layouts = []
    for name, part in config.parts.items():
        below += config.weights[name] / total
        which += drawn >= below
        layouts.append(_on_canvas(ids, LAYOUTS[part.family](ids, part, pool, seed), part.spec, spec, pool, seed))
    which = which.clamp(max=len(layouts) - 1)  # weights that do not quite add up to 1
    scene = torch.arange(len(ids), device=ids.device)
    chosen, corners, present = (
        torch.stack(each)[which, scene] for each in zip(*(it[:3] for it in layouts), strict=True)
    )
    fragments = None
    if strewn := [it.fragments for it in layouts if it.fragments is not None]:
        most = max(it.sources.shape[1] for it in strewn)
        each = [_no_fragments(ids) if it.fragments is None else it.fragments for it in layouts]
        parts = zip(*(_with_slots(it, most) for it in each), strict=True)
        fragments = Fragments(*(torch.stack(part)[which, scene] for part in parts))
    return Layout(chosen, corners, present, fragments, max(it.overhang for it in layouts))


LAYOUTS: dict[str, Family] = {
    "single": single,
    "grid": grid,
    "scatter": scatter,
    "line": line,
    "overlap": overlap,
    "cluttered": cluttered,
    "mixed": mixed,
}


def _choose(ids: Tensor, slots: int, pool: Pool, seed: int) -> Tensor:
    return rng.integers(rng.key(seed, pool.split, "digit"), ids, slots, len(pool))


def _choose_distinct(ids: Tensor, slots: int, pool: Pool, seed: int) -> Tensor:
    """Each digit uniform over those whose class has not been chosen yet; B N."""
    sizes = pool.class_sizes
    begins = sizes.cumsum(0) - sizes
    drawn = rng.bits(rng.key(seed, pool.split, "digit"), ids, slots)
    chosen, classes = [], torch.empty(len(ids), 0, dtype=torch.int64, device=ids.device)
    for slot in range(slots):
        used = classes.sort(1).values
        place = (drawn[:, slot] * (len(pool) - sizes[used].sum(1))) >> 32
        for passed in used.unbind(1):  # ascending: step over each class that is used up
            place = place + torch.where(place >= begins[passed], sizes[passed], 0)
        chosen.append(pool.by_class[place])
        classes = torch.cat([classes, pool.labels[chosen[-1]][:, None]], 1)
    return torch.stack(chosen, 1)


def _count(ids: Tensor, least: int, most: int, pool: Pool, seed: int) -> Tensor:
    return least + rng.integers(rng.key(seed, pool.split, "count"), ids, 1, most - least + 1)[:, 0]


def _in_order(name: str, layout: Layout, pool: Pool) -> Layout:
    keys = order.keys(name, layout.corners, layout.present, pool.side, pool.labels[layout.chosen])
    ranked = keys.argsort(dim=1, stable=True)
    return layout._replace(
        chosen=layout.chosen.gather(1, ranked),
        corners=layout.corners.gather(1, ranked[..., None].expand_as(layout.corners)),
        present=layout.present.gather(1, ranked),
    )


def _fragments(ids: Tensor, many: int, pool: Pool, seed: int) -> Fragments:
    """Pieces cut anywhere from digits of train and val, anywhere on a canvas of 100x100."""
    sources = rng.integers(rng.key(seed, pool.split, "fragment"), ids, many, len(pool.clutter))
    cuts, corners = (
        rng.integers(rng.key(seed, pool.split, name), ids, many * 2, side - FRAGMENT).view(-1, many, 2)
        for name, side in (("cut", pool.side), ("fragment place", 100))
    )
    return Fragments(sources, cuts, corners, torch.ones_like(sources, dtype=torch.bool))


def _no_fragments(ids: Tensor) -> Fragments:
    none, nowhere = ids.new_empty(len(ids), 0), ids.new_empty(len(ids), 0, 2)
    return Fragments(none, nowhere, nowhere, none.bool())


def _with_slots(fragments: Fragments, slots: int) -> Fragments:
    missing = (0, slots - fragments.sources.shape[1])
    sources, cuts, corners, present = fragments
    pairs = (0, 0, *missing)
    return Fragments(F.pad(sources, missing), F.pad(cuts, pairs), F.pad(corners, pairs), F.pad(present, missing))


def _on_canvas(ids: Tensor, layout: Layout, own: Spec, spec: Spec, pool: Pool, seed: int) -> Layout:
    """A layout moved to a random place of a larger canvas, with slots for as many digits as that has."""
    room = (spec.width - own.width, spec.height - own.height)
    key = rng.key(seed, pool.split, "canvas")
    offset = torch.cat([rng.integers(key, ids, 2, below + 1)[:, axis : axis + 1] for axis, below in enumerate(room)], 1)
    fragments = layout.fragments
    if fragments is not None:
        fragments = fragments._replace(corners=fragments.corners + offset[:, None])
    missing = spec.max_digits - layout.chosen.shape[1]
    corners = (layout.corners + offset[:, None]) * layout.present[..., None]
    return Layout(
        F.pad(layout.chosen, (0, missing)),
        F.pad(corners, (0, 0, 0, missing)),
        F.pad(layout.present, (0, missing)),
        fragments,
        layout.overhang,
    )
