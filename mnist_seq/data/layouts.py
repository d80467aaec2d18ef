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
from mnist_seq.data import reading_order, rng
from mnist_seq.data.digits import Pool
from mnist_seq.data.scatter_layout import place_digits

DISTRACTOR_SIZE = 9
"""Side of a fragment, pixels."""


class Distractors(NamedTuple):
    """Pieces of digits that lie under the digits of a batch of scenes, each over those before it."""

    indices: Tensor
    """B F, int64: places in the pool's clutter."""
    crops: Tensor
    """B F 2, int64: x y of the upper left corner in the digit that it is cut from, pixels."""
    corners: Tensor
    """B F 2, int64: x y of the upper left corner on the canvas, pixels."""
    present: Tensor
    """B F, bool."""


class Layout(NamedTuple):
    """A batch of scenes before a pixel of them is drawn. The digits that are there come first."""

    indices: Tensor
    """B N, int64: places in the pool."""
    corners: Tensor
    """B N 2, int64: x y of the upper left corners of the frames, pixels; ink outside the canvas is lost."""
    present: Tensor
    """B N, bool."""
    distractors: Distractors | None = None
    bleed: int = 0
    """How far a frame may reach beyond the canvas, pixels."""


LayoutFn = Callable[[Tensor, Any, Pool, int], Layout]
"""(ids, config, pool, seed) -> Layout: a function of these and of nothing else."""


def single(ids: Tensor, config: SingleConfig, pool: Pool, seed: int) -> Layout:
    """One digit that fills the canvas: in training any, elsewhere each of the pool once before one comes again."""
    layout = grid(ids, GridConfig(digit_size=config.digit_size, rows=1, cols=1), pool, seed)
    if pool.split == "train":
        return layout
    everyone = torch.arange(len(pool), device=ids.device)
    turns = rng.bits(rng.key(seed, pool.split, "turn"), everyone, 1)[:, 0].argsort(stable=True)
    return layout._replace(indices=turns[ids % len(pool)][:, None])


def grid(ids: Tensor, config: GridConfig, pool: Pool, seed: int) -> Layout:
    """A digit in each cell, or none with chance `empty`; read in raster order."""
    cells = config.rows * config.cols
    chosen = _sample_digits(ids, cells, pool, seed)
    present = rng.uniform(rng.key(seed, pool.split, "empty"), ids, cells) >= config.p_empty
    cell = torch.arange(cells, device=ids.device)
    corners = torch.stack([cell % config.cols, cell // config.cols], -1) * pool.digit_size
    return _sort_in_reading_order("raster", Layout(chosen, corners.expand(len(ids), -1, -1), present), pool)


def scatter(ids: Tensor, config: ScatterConfig, pool: Pool, seed: int) -> Layout:
    """N digits at random places, their frames apart or overlapping within a bound."""
    counts = _sample_counts(ids, config.min_digits, config.max_digits, pool, seed)
    corners, present = place_digits(ids, counts, config, seed, pool.split)
    return _sort_in_reading_order(
        config.order, Layout(_sample_digits(ids, config.max_digits, pool, seed), corners, present), pool
    )


def line(ids: Tensor, config: LineConfig, pool: Pool, seed: int) -> Layout:
    """N digits side by side at random advances and heights, the whole line at a random place."""
    slots = config.max_digits
    counts = _sample_counts(ids, config.min_digits, slots, pool, seed)
    present = torch.arange(slots, device=ids.device) < counts[:, None]
    steps = rng.integers(rng.key(seed, pool.split, "advance"), ids, slots, config.max_advance - config.min_advance + 1)
    steps = (steps + config.min_advance) * present
    steps[:, 0] = 0
    slack = config.width - pool.digit_size - steps.sum(1, keepdim=True)
    begin = rng.integers(rng.key(seed, pool.split, "begin"), ids, 1, slack + 1)
    tops = rng.integers(rng.key(seed, pool.split, "top"), ids, slots, config.height - pool.digit_size + 1)
    corners = torch.stack([begin + steps.cumsum(1), tops], -1) * present[..., None]
    return Layout(_sample_digits(ids, slots, pool, seed), corners, present)


def overlap(ids: Tensor, config: OverlapConfig, pool: Pool, seed: int) -> Layout:
    """N digits in the middle of the canvas, each shifted by whole pixels (Sabour et al. 2017); digits ascend."""
    slots = config.max_digits
    counts = _sample_counts(ids, config.min_digits, slots, pool, seed)
    present = torch.arange(slots, device=ids.device) < counts[:, None]
    chosen = (
        _sample_distinct_digits(ids, slots, pool, seed) if config.distinct else _sample_digits(ids, slots, pool, seed)
    )
    shifts = rng.integers(rng.key(seed, pool.split, "shift"), ids, 2 * slots, 2 * config.shift + 1) - config.shift
    middle = torch.tensor(
        [(config.width - pool.digit_size) // 2, (config.height - pool.digit_size) // 2], device=ids.device
    )
    beyond = [config.shift - (extent - pool.digit_size) // 2 for extent in (config.width, config.height)]
    layout = Layout(chosen, middle + shifts.view(-1, slots, 2), present, bleed=max(0, *beyond))
    return _sort_in_reading_order("set", layout, pool)


def cluttered(ids: Tensor, config: ClutteredConfig, pool: Pool, seed: int) -> Layout:
    """Three digits edge to edge on a slope over fragments of others (Sonderby et al. 2015)."""
    drawn = {
        name: rng.integers(rng.key(seed, pool.split, name), ids, 1, many)
        for name, many in (("begin", 16), ("top", 100), ("slope", 28))
    }
    digit = torch.arange(3, device=ids.device)
    x = drawn["begin"] + digit * pool.digit_size  # half of what three digits leave free, and -8 to 7
    y = (drawn["top"] + (drawn["slope"] - 14) * digit).clamp(0, 100 - pool.digit_size)
    present = torch.ones_like(x, dtype=torch.bool)
    fragments = _sample_distractors(ids, config.num_distractors, pool, seed) if config.num_distractors else None
    return Layout(_sample_digits(ids, 3, pool, seed), torch.stack([x, y], -1), present, fragments)


def mixed(ids: Tensor, config: MixedConfig, pool: Pool, seed: int) -> Layout:
    """Each scene is of one family, drawn by weight; a smaller canvas lies at a random place of the largest."""
    spec, total = config.spec, sum(config.weights.values())
    below, which = 0.0, torch.zeros_like(ids)
    drawn = rng.uniform(rng.key(seed, pool.split, "part"), ids, 1)[:, 0]
    layouts = []
    for name, part in config.parts.items():
        below += config.weights[name] / total
        which += drawn >= below
        layouts.append(_offset_on_canvas(ids, LAYOUTS[part.family](ids, part, pool, seed), part.spec, spec, pool, seed))
    which = which.clamp(max=len(layouts) - 1)  # weights that do not quite add up to 1
    scene = torch.arange(len(ids), device=ids.device)
    chosen, corners, present = (
        torch.stack(each)[which, scene] for each in zip(*(it[:3] for it in layouts), strict=True)
    )
    fragments = None
    if strewn := [it.distractors for it in layouts if it.distractors is not None]:
        most = max(it.indices.shape[1] for it in strewn)
        each = [_empty_distractors(ids) if it.distractors is None else it.distractors for it in layouts]
        parts = zip(*(_pad_distractors(it, most) for it in each), strict=True)
        fragments = Distractors(*(torch.stack(part)[which, scene] for part in parts))
    return Layout(chosen, corners, present, fragments, max(it.bleed for it in layouts))


LAYOUTS: dict[str, LayoutFn] = {
    "single": single,
    "grid": grid,
    "scatter": scatter,
    "line": line,
    "overlap": overlap,
    "cluttered": cluttered,
    "mixed": mixed,
}


def _sample_digits(ids: Tensor, slots: int, pool: Pool, seed: int) -> Tensor:
    return rng.integers(rng.key(seed, pool.split, "digit"), ids, slots, len(pool))


def _sample_distinct_digits(ids: Tensor, slots: int, pool: Pool, seed: int) -> Tensor:
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


def _sample_counts(ids: Tensor, least: int, most: int, pool: Pool, seed: int) -> Tensor:
    return least + rng.integers(rng.key(seed, pool.split, "count"), ids, 1, most - least + 1)[:, 0]


def _sort_in_reading_order(name: str, layout: Layout, pool: Pool) -> Layout:
    keys = reading_order.sort_keys(name, layout.corners, layout.present, pool.digit_size, pool.labels[layout.indices])
    ranked = keys.argsort(dim=1, stable=True)
    return layout._replace(
        indices=layout.indices.gather(1, ranked),
        corners=layout.corners.gather(1, ranked[..., None].expand_as(layout.corners)),
        present=layout.present.gather(1, ranked),
    )


def _sample_distractors(ids: Tensor, many: int, pool: Pool, seed: int) -> Distractors:
    """Pieces cut anywhere from digits of train and val, anywhere on a canvas of 100x100."""
    sources = rng.integers(rng.key(seed, pool.split, "fragment"), ids, many, len(pool.clutter))
    cuts, corners = (
        rng.integers(rng.key(seed, pool.split, name), ids, many * 2, side - DISTRACTOR_SIZE).view(-1, many, 2)
        for name, side in (("cut", pool.digit_size), ("fragment place", 100))
    )
    return Distractors(sources, cuts, corners, torch.ones_like(sources, dtype=torch.bool))


def _empty_distractors(ids: Tensor) -> Distractors:
    none, nowhere = ids.new_empty(len(ids), 0), ids.new_empty(len(ids), 0, 2)
    return Distractors(none, nowhere, nowhere, none.bool())


def _pad_distractors(fragments: Distractors, slots: int) -> Distractors:
    missing = (0, slots - fragments.indices.shape[1])
    sources, cuts, corners, present = fragments
    pairs = (0, 0, *missing)
    return Distractors(F.pad(sources, missing), F.pad(cuts, pairs), F.pad(corners, pairs), F.pad(present, missing))


def _offset_on_canvas(ids: Tensor, layout: Layout, own: Spec, spec: Spec, pool: Pool, seed: int) -> Layout:
    """A layout moved to a random place of a larger canvas, with slots for as many digits as that has."""
    room = (spec.width - own.width, spec.height - own.height)
    key = rng.key(seed, pool.split, "canvas")
    offset = torch.cat([rng.integers(key, ids, 2, below + 1)[:, axis : axis + 1] for axis, below in enumerate(room)], 1)
    fragments = layout.distractors
    if fragments is not None:
        fragments = fragments._replace(corners=fragments.corners + offset[:, None])
    missing = spec.max_length - layout.indices.shape[1]
    corners = (layout.corners + offset[:, None]) * layout.present[..., None]
    return Layout(
        F.pad(layout.indices, (0, missing)),
        F.pad(corners, (0, 0, 0, missing)),
        F.pad(layout.present, (0, missing)),
        fragments,
        layout.bleed,
    )
