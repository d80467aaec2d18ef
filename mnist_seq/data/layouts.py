"""Scene families: the digits and their positions, as pure functions of the scene ids.

Every layout function returns at most N = `config.spec.max_length` slots per scene, those that hold a digit first and in
reading order. Coordinates are whole pixels, x to the right and y downwards.

Shapes   B scenes   N slots for digits   D distractors   S side of a digit's frame, `config.digit_size`   H W canvas
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import (
    ClutteredConfig,
    GridConfig,
    MixedConfig,
    OverlapConfig,
    ScatterConfig,
    SingleConfig,
    Spec,
    StringConfig,
)
from mnist_seq.data import reading_order, rng
from mnist_seq.data.digits import Pool
from mnist_seq.data.distractors import no_distractors, sample_distractors
from mnist_seq.data.layout_types import Distractors, Layout
from mnist_seq.data.line_layout import line
from mnist_seq.data.multidigit_layout import multidigit_mnist
from mnist_seq.data.sampling import sample_counts, sample_digits, sample_distinct_digits
from mnist_seq.data.scatter_layout import place_digits

LayoutFn = Callable[[Tensor, Any, Pool, int], Layout]
"""(ids, config, pool, seed) -> Layout, a pure function; `ids` is B, int64."""


def single(ids: Int[Tensor, "B"], config: SingleConfig, pool: Pool, seed: int) -> Layout:
    """One digit that fills the S x S canvas; N = 1.

    A training scene shows any digit. Elsewhere scenes go through a permutation of the pool, so that the first 10,000
    test scenes are MNIST's 10,000 test images.
    """
    layout = grid(ids, GridConfig(digit_size=config.digit_size, rows=1, cols=1), pool, seed)
    if pool.split == "train":
        return layout
    indices = torch.arange(len(pool), device=ids.device)
    permutation = rng.bits(rng.key(seed, pool.split, "turn"), indices, 1)[:, 0].argsort(stable=True)
    return layout._replace(indices=permutation[ids % len(pool)][:, None])


def grid(ids: Int[Tensor, "B"], config: GridConfig, pool: Pool, seed: int) -> Layout:
    """A digit in each cell of a grid, or none with probability `p_empty`, in raster order.

    N = rows * cols, on a canvas of rows*S x cols*S pixels.
    """
    slots = config.rows * config.cols
    indices = sample_digits(ids, slots, pool, seed)
    present = rng.uniform(rng.key(seed, pool.split, "empty"), ids, slots) >= config.p_empty
    cell = torch.arange(slots, device=ids.device)
    corners = torch.stack([cell % config.cols, cell // config.cols], -1) * pool.digit_size
    return _sort_in_reading_order("raster", Layout(indices, corners.expand(len(ids), -1, -1), present), pool)


def scatter(ids: Int[Tensor, "B"], config: ScatterConfig, pool: Pool, seed: int) -> Layout:
    """Digits at random positions on H x W pixels, their number uniform in min_digits..max_digits; N = max_digits.

    Frames are disjoint, or overlap within `config.overlap`; order by `config.order`, which no move of a digit by less
    than `order_margin` pixels changes. See `scatter_layout` for the distribution of the positions.
    """
    counts = sample_counts(ids, config.min_digits, config.max_digits, pool, seed)
    corners, present = place_digits(ids, counts, config, seed, pool.split)
    indices = sample_digits(ids, config.max_digits, pool, seed)
    return _sort_in_reading_order(config.order, Layout(indices, corners, present), pool)


def string(ids: Int[Tensor, "B"], config: StringConfig, pool: Pool, seed: int) -> Layout:
    """Digits side by side, from left to right, their number uniform in min_digits..max_digits; N = max_digits.

    Each digit starts min_advance..max_advance pixels after the previous one, at any height that fits; the line starts
    at any x that fits. All uniform.
    """
    slots = config.max_digits
    counts = sample_counts(ids, config.min_digits, slots, pool, seed)
    present = torch.arange(slots, device=ids.device) < counts[:, None]
    num_advances = config.max_advance - config.min_advance + 1
    advances = rng.integers(rng.key(seed, pool.split, "advance"), ids, slots, num_advances)
    advances = (advances + config.min_advance) * present
    advances[:, 0] = 0
    slack = config.width - pool.digit_size - advances.sum(1, keepdim=True)
    start = rng.integers(rng.key(seed, pool.split, "begin"), ids, 1, slack + 1)
    tops = rng.integers(rng.key(seed, pool.split, "top"), ids, slots, config.height - pool.digit_size + 1)
    corners = torch.stack([start + advances.cumsum(1), tops], -1) * present[..., None]
    return Layout(sample_digits(ids, slots, pool, seed), corners, present)


def overlap(ids: Int[Tensor, "B"], config: OverlapConfig, pool: Pool, seed: int) -> Layout:
    """Digits on top of each other in the middle of the canvas, read as a set (classes ascend); N = max_digits.

    Each is shifted by whole pixels, uniform in [-shift, shift] on both axes. With two digits of distinct classes on
    36x36 this is MultiMNIST (Sabour, Frosst & Hinton 2017): shift 4 in the paper, 6 in the authors' sample command.
    """
    slots = config.max_digits
    counts = sample_counts(ids, config.min_digits, slots, pool, seed)
    present = torch.arange(slots, device=ids.device) < counts[:, None]
    sample = sample_distinct_digits if config.distinct else sample_digits
    indices = sample(ids, slots, pool, seed)
    shifts = rng.integers(rng.key(seed, pool.split, "shift"), ids, 2 * slots, 2 * config.shift + 1) - config.shift
    padding = [(length - pool.digit_size) // 2 for length in (config.width, config.height)]
    corners = torch.tensor(padding, device=ids.device) + shifts.view(-1, slots, 2)
    return _sort_in_reading_order("set", Layout(indices, corners, present, bleed=config.bleed), pool)


def cluttered(ids: Int[Tensor, "B"], config: ClutteredConfig, pool: Pool, seed: int) -> Layout:
    """Three digits edge to edge on a slope over distractors, from left to right (Sønderby et al. 2015); N = 3.

    On 100x100 pixels: x of the first digit is uniform in 0..15, its y in 0..99, the slope in -14..13 pixels per digit,
    and each digit is moved onto the canvas by itself. The digits are added to 9x9 pieces of train and val digits.
    """
    x0, y0, slope = (
        rng.integers(rng.key(seed, pool.split, purpose), ids, 1, high)
        for purpose, high in (("begin", 16), ("top", 100), ("slope", 28))
    )
    digit = torch.arange(3, device=ids.device)
    x = x0 + digit * pool.digit_size
    y = (y0 + (slope - 14) * digit).clamp(0, 100 - pool.digit_size)
    present = torch.ones_like(x, dtype=torch.bool)
    distractors = sample_distractors(ids, config.num_distractors, pool, seed) if config.num_distractors else None
    return Layout(sample_digits(ids, 3, pool, seed), torch.stack([x, y], -1), present, distractors)


def mixed(ids: Int[Tensor, "B"], config: MixedConfig, pool: Pool, seed: int) -> Layout:
    """Each scene from one of several families, drawn by weight; N and the canvas are the largest of the parts'.

    A smaller canvas lies at a uniform position on the largest one. Each scene is read in the order of its own family.
    """
    spec, total = config.spec, sum(config.weights.values())
    threshold, part_index = 0.0, torch.zeros_like(ids)
    uniforms = rng.uniform(rng.key(seed, pool.split, "part"), ids, 1)[:, 0]
    layouts = []
    for name, part in config.parts.items():
        threshold += config.weights[name] / total
        part_index += uniforms >= threshold
        layout = LAYOUTS[part.family](ids, part, pool, seed)
        layouts.append(_offset_on_canvas(ids, layout, part.spec, spec, pool, seed))
    part_index = part_index.clamp(max=len(layouts) - 1)  # rounded weights may add up to less than 1
    indices, corners, present = _select([layout[:3] for layout in layouts], part_index)
    distractors = None
    if any(layout.distractors for layout in layouts):
        parts = [layout.distractors or no_distractors(ids) for layout in layouts]
        distractors = Distractors(*_select(parts, part_index))
    return Layout(indices, corners, present, distractors, bleed=max(layout.bleed for layout in layouts))


LAYOUTS: dict[str, LayoutFn] = {
    "single": single,
    "grid": grid,
    "scatter": scatter,
    "line": line,
    "string": string,
    "multidigit_mnist": multidigit_mnist,
    "overlap": overlap,
    "cluttered": cluttered,
    "mixed": mixed,
}


def _sort_in_reading_order(order: str, layout: Layout, pool: Pool) -> Layout:
    labels = pool.labels[layout.indices]
    keys = reading_order.sort_keys(order, layout.corners, layout.present, pool.digit_size, labels)
    permutation = keys.argsort(dim=1, stable=True)
    return layout._replace(
        indices=layout.indices.gather(1, permutation),
        corners=layout.corners.gather(1, permutation[..., None].expand_as(layout.corners)),
        present=layout.present.gather(1, permutation),
    )


def _select(parts: Sequence[Sequence[Tensor]], part_index: Tensor) -> list[Tensor]:
    """Take each scene's row from the part that it belongs to; slots that a part lacks are zeros.

    Args:
        parts: the same tensors, B N or B N 2, of each part; N may differ.
        part_index: B.
    """
    slots, scene = max(part[0].shape[1] for part in parts), torch.arange(len(part_index), device=part_index.device)
    return [
        torch.stack([_pad_slots(tensor, slots) for tensor in tensors])[part_index, scene]
        for tensors in zip(*parts, strict=True)
    ]


def _pad_slots(tensor: Tensor, slots: int) -> Tensor:
    """Append zeros to the slots of a tensor, B N or B N 2."""
    return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, slots - tensor.shape[1]))


def _offset_on_canvas(ids: Tensor, layout: Layout, part_spec: Spec, spec: Spec, pool: Pool, seed: int) -> Layout:
    """Move a layout to a uniform position on a larger canvas, and pad it to the slots of that canvas."""
    slack = (spec.width - part_spec.width, spec.height - part_spec.height)
    key = rng.key(seed, pool.split, "canvas")
    offset = torch.stack([rng.integers(key, ids, 2, max_ + 1)[:, axis] for axis, max_ in enumerate(slack)], 1)[:, None]
    distractors = layout.distractors
    if distractors is not None:
        distractors = distractors._replace(corners=distractors.corners + offset)
    corners = (layout.corners + offset) * layout.present[..., None]
    indices, corners, present = (
        _pad_slots(tensor, spec.max_length) for tensor in (layout.indices, corners, layout.present)
    )
    return Layout(indices, corners, present, distractors, bleed=layout.bleed)
