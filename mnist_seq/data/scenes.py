"""Scenes as pure functions: ids -> images and their truth. A scene depends on (seed, split, id) and on nothing else.

Shapes   B scenes   N slots for digits   H W canvas   C cells   S side of a digit's frame
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq import tokens
from mnist_seq.config import AugmentConfig, DataConfig, Spec
from mnist_seq.data import augment, order, rng
from mnist_seq.data.digits import Pool, ink_boxes
from mnist_seq.data.layouts import FRAGMENT, LAYOUTS, Fragments, Layout
from mnist_seq.data.paste import paste, pixels_at


class Scenes(NamedTuple):
    """A batch of rendered scenes and all that is true of them. Digits stand in reading order."""

    images: Tensor
    """B 1 H W, uint8: ink on a background of 0."""
    digits: Tensor
    """B N, int64, PAD after the last."""
    tokens: Tensor
    """B N+2, int64: the same, framed by BOS and EOS."""
    cells: Tensor
    """B C, int64: the digit whose frame has its centre in the cell, or EMPTY."""
    counts: Tensor
    """B, int64."""
    boxes: Tensor
    """B N 4, int64: x0 y0 x1 y1 of the ink on the canvas, pixels, half open; of no extent where all ink is lost beyond
    it, zeros after the last digit."""
    sources: Tensor
    """B N, int64: index of the digit in its data set, -1 after the last."""

    def to(self, device: torch.device | str) -> Scenes:
        return Scenes(*(part.to(device) for part in self))


def render(ids: Tensor, config: DataConfig, pool: Pool, seed: int, distorted: bool = False) -> Scenes:
    """Draw the scenes with these ids.

    Args:
        ids: B, int64.
        pool: digits of the config's size.
        distorted: by `config.augment`.
    """
    spec = config.spec
    layout = LAYOUTS[config.family](ids, config, pool, seed)
    how = config.augment if distorted and any(vars(config.augment).values()) else None
    glyphs, ink = _glyphs(ids, layout, pool, seed, how)
    if layout.overhang:
        ink = ink_boxes(_within(glyphs, layout, spec).flatten(0, 1)).view_as(ink)
    images = paste(glyphs, layout.corners, spec.height, spec.width, layout.overhang)
    if layout.fragments is not None:
        backdrop = _backdrop(ids, layout.fragments, pool, seed, how, spec)
        images = (images.short() + backdrop).clamp(max=255).to(torch.uint8)

    missing = (0, spec.max_digits - layout.present.shape[1])
    present = F.pad(layout.present, missing)
    labels = pool.labels[layout.chosen]
    digits = F.pad(labels, missing).masked_fill(~present, tokens.PAD)
    boxes = (ink + layout.corners.repeat(1, 1, 2)) * layout.present[..., None]
    return Scenes(
        images=images[:, None],
        digits=digits,
        tokens=tokens.encode(digits),
        cells=_cells(layout, labels, spec, pool.side),
        counts=present.sum(1),
        boxes=F.pad(boxes, (0, 0, *missing)),
        sources=F.pad(pool.indices[layout.chosen], missing).masked_fill(~present, -1),
    )


def margins(ids: Tensor, config: DataConfig, pool: Pool, seed: int) -> Tensor | None:
    """By how many pixels each scene's reading order is decided; B, or None: it hangs on none, or on each part's own."""
    ways = getattr(config, "order", "set")
    if ways == "set":
        return None
    layout = LAYOUTS[config.family](ids, config, pool, seed)
    return order.margin(ways, layout.corners, layout.present, pool.side)


def _glyphs(ids: Tensor, layout: Layout, pool: Pool, seed: int, how: AugmentConfig | None) -> tuple[Tensor, Tensor]:
    """The digits' pixels, B N S S, blank where none is, and the boxes of their ink within the frame, B N 4."""
    chosen = layout.chosen.flatten()
    glyphs, ink = pool.images.index_select(0, chosen), pool.boxes[chosen]
    if how is not None:
        draws = rng.Draws(seed, pool.split, ids, slots=layout.chosen.shape[1])
        glyphs = augment.distort(glyphs, ink, draws, how)
        ink = ink_boxes(glyphs)
    glyphs = glyphs * layout.present.view(-1, 1, 1)
    return glyphs.unflatten(0, layout.chosen.shape), ink.unflatten(0, layout.chosen.shape)


def _backdrop(
    ids: Tensor, fragments: Fragments, pool: Pool, seed: int, how: AugmentConfig | None, spec: Spec
) -> Tensor:
    """Pieces of digits, distorted as digits are, so that nothing but their shape tells them apart; B H W, uint8."""
    sources = fragments.sources
    glyphs = pool.clutter.index_select(0, sources.flatten())
    if how is not None:
        draws = rng.Draws(seed, pool.split, ids, slots=sources.shape[1], whose=("fragments",))
        glyphs = augment.distort(glyphs, ink_boxes(glyphs), draws, how)
    size = (FRAGMENT, FRAGMENT)
    pieces = glyphs.view(*sources.shape, -1).gather(2, pixels_at(fragments.cuts, size, glyphs.shape[-1]))
    beyond = spec.height * spec.width
    placed = pixels_at(fragments.corners, size, spec.width).masked_fill(~fragments.present[..., None], beyond)
    backdrop = torch.zeros(len(ids), beyond + 1, dtype=torch.uint8, device=ids.device)
    for fragment in range(sources.shape[1]):
        backdrop.scatter_(1, placed[:, fragment], pieces[:, fragment])
    return backdrop[:, :-1].view(-1, spec.height, spec.width)


def _within(glyphs: Tensor, layout: Layout, spec: Spec) -> Tensor:
    """The digits' pixels that lie on the canvas; B N S S."""
    along = torch.arange(glyphs.shape[-1], device=glyphs.device)
    x, y = (layout.corners[..., None] + along).unbind(2)
    across, down = (x >= 0) & (x < spec.width), (y >= 0) & (y < spec.height)
    return glyphs * (across[..., None, :] & down[..., None])


def _cells(layout: Layout, labels: Tensor, spec: Spec, side: int) -> Tensor:
    """What each cell of the canvas holds; B C, without cells where two digits can share one."""
    rows, cols = spec.cells
    centres = 2 * layout.corners + side
    col, row = centres[..., 0] * cols // (2 * spec.width), centres[..., 1] * rows // (2 * spec.height)
    cells = labels.new_full((len(labels), rows * cols + 1), tokens.EMPTY)
    cell = (row * cols + col).masked_fill(~layout.present, rows * cols).clamp(0, rows * cols)
    return cells.scatter_(1, cell, labels)[:, :-1]
