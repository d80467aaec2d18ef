"""Scenes as pure functions: ids -> images and their truth. A scene depends on (seed, split, id) and on nothing else.

Shapes   B scenes   N slots for digits   H W canvas   C cells   S side of a digit's frame
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import AugmentConfig, DataConfig, Spec
from mnist_seq.data import augment, reading_order, rng
from mnist_seq.data.compositing import flat_pixel_indices, paste
from mnist_seq.data.digits import Pool, ink_boxes
from mnist_seq.data.layouts import DISTRACTOR_SIZE, LAYOUTS, Distractors, Layout


class SceneBatch(NamedTuple):
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

    def to(self, device: torch.device | str) -> SceneBatch:
        return SceneBatch(*(part.to(device) for part in self))


def render(ids: Tensor, config: DataConfig, pool: Pool, seed: int, augmented: bool = False) -> SceneBatch:
    """Draw the scenes with these ids.

    Args:
        ids: B, int64.
        pool: digits of the config's size.
        distorted: by `config.augment`.
    """
    spec = config.spec
    layout = LAYOUTS[config.family](ids, config, pool, seed)
    how = config.augment if augmented and any(vars(config.augment).values()) else None
    glyphs, ink = _digit_images(ids, layout, pool, seed, how)
    if layout.bleed:
        ink = ink_boxes(_crop_to_canvas(glyphs, layout, spec).flatten(0, 1)).view_as(ink)
    images = paste(glyphs, layout.corners, spec.height, spec.width, layout.bleed)
    if layout.distractors is not None:
        backdrop = _render_distractors(ids, layout.distractors, pool, seed, how, spec)
        images = (images.short() + backdrop).clamp(max=255).to(torch.uint8)

    missing = (0, spec.max_length - layout.present.shape[1])
    present = F.pad(layout.present, missing)
    labels = pool.labels[layout.indices]
    digits = F.pad(labels, missing).masked_fill(~present, vocabulary.PAD)
    boxes = (ink + layout.corners.repeat(1, 1, 2)) * layout.present[..., None]
    return SceneBatch(
        images=images[:, None],
        digits=digits,
        tokens=vocabulary.encode(digits),
        cells=_cell_labels(layout, labels, spec, pool.digit_size),
        counts=present.sum(1),
        boxes=F.pad(boxes, (0, 0, *missing)),
        sources=F.pad(pool.source_indices[layout.indices], missing).masked_fill(~present, -1),
    )


def order_margins(ids: Tensor, config: DataConfig, pool: Pool, seed: int) -> Tensor | None:
    """By how many pixels each scene's reading order is decided; B, or None: it hangs on none, or on each part's own."""
    ways = getattr(config, "order", "set")
    if ways == "set":
        return None
    layout = LAYOUTS[config.family](ids, config, pool, seed)
    return reading_order.margin(ways, layout.corners, layout.present, pool.digit_size)


def _digit_images(
    ids: Tensor, layout: Layout, pool: Pool, seed: int, augment_config: AugmentConfig | None
) -> tuple[Tensor, Tensor]:
    """The digits' pixels, B N S S, blank where none is, and the boxes of their ink within the frame, B N 4."""
    chosen = layout.indices.flatten()
    glyphs, ink = pool.images.index_select(0, chosen), pool.boxes[chosen]
    if augment_config is not None:
        draws = rng.DigitRng(seed, pool.split, ids, slots=layout.indices.shape[1])
        glyphs = augment.augment_digits(glyphs, ink, draws, augment_config)
        ink = ink_boxes(glyphs)
    glyphs = glyphs * layout.present.view(-1, 1, 1)
    return glyphs.unflatten(0, layout.indices.shape), ink.unflatten(0, layout.indices.shape)


def _render_distractors(
    ids: Tensor, fragments: Distractors, pool: Pool, seed: int, augment_config: AugmentConfig | None, spec: Spec
) -> Tensor:
    """Pieces of digits, distorted as digits are, so that nothing but their shape tells them apart; B H W, uint8."""
    sources = fragments.indices
    glyphs = pool.clutter.index_select(0, sources.flatten())
    if augment_config is not None:
        draws = rng.DigitRng(seed, pool.split, ids, slots=sources.shape[1], stream=("fragments",))
        glyphs = augment.augment_digits(glyphs, ink_boxes(glyphs), draws, augment_config)
    size = (DISTRACTOR_SIZE, DISTRACTOR_SIZE)
    pieces = glyphs.view(*sources.shape, -1).gather(2, flat_pixel_indices(fragments.crops, size, glyphs.shape[-1]))
    beyond = spec.height * spec.width
    placed = flat_pixel_indices(fragments.corners, size, spec.width).masked_fill(~fragments.present[..., None], beyond)
    backdrop = torch.zeros(len(ids), beyond + 1, dtype=torch.uint8, device=ids.device)
    for fragment in range(sources.shape[1]):
        backdrop.scatter_(1, placed[:, fragment], pieces[:, fragment])
    return backdrop[:, :-1].view(-1, spec.height, spec.width)


def _crop_to_canvas(glyphs: Tensor, layout: Layout, spec: Spec) -> Tensor:
    """The digits' pixels that lie on the canvas; B N S S."""
    along = torch.arange(glyphs.shape[-1], device=glyphs.device)
    x, y = (layout.corners[..., None] + along).unbind(2)
    across, down = (x >= 0) & (x < spec.width), (y >= 0) & (y < spec.height)
    return glyphs * (across[..., None, :] & down[..., None])


def _cell_labels(layout: Layout, labels: Tensor, spec: Spec, side: int) -> Tensor:
    """What each cell of the canvas holds; B C, without cells where two digits can share one."""
    rows, cols = spec.cells
    centres = 2 * layout.corners + side
    col, row = centres[..., 0] * cols // (2 * spec.width), centres[..., 1] * rows // (2 * spec.height)
    cells = labels.new_full((len(labels), rows * cols + 1), vocabulary.EMPTY_CELL)
    cell = (row * cols + col).masked_fill(~layout.present, rows * cols).clamp(0, rows * cols)
    return cells.scatter_(1, cell, labels)[:, :-1]
