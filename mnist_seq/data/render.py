"""Render scenes: ids -> images and ground truth, as a pure function of (seed, split, id).

Shapes   B scenes   N slots for digits   H W canvas   C cells   S side of a digit's frame
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import AugmentConfig, DataConfig, Spec
from mnist_seq.data import augment, reading_order, rng
from mnist_seq.data.compositing import into_slots, paste
from mnist_seq.data.digits import Pool, ink_boxes
from mnist_seq.data.distractors import paste_distractors
from mnist_seq.data.layout_types import Layout
from mnist_seq.data.layouts import LAYOUTS
from mnist_seq.data.marks import AugmentFn, paste_marks


class SceneBatch(NamedTuple):
    """A batch of scenes with their ground truth. Digits are in reading order."""

    images: UInt8[Tensor, "B 1 H W"]
    """Ink on a background of 0."""
    digits: Int[Tensor, "B N"]
    """The digits 0-9, PAD after the last."""
    tokens: Int[Tensor, "B N+2"]
    """The digits between BOS and EOS, PAD after EOS."""
    cells: Int[Tensor, "B C"]
    """The digit whose frame has its centre in the cell, or EMPTY_CELL."""
    counts: Int[Tensor, "B"]
    """Number of digits."""
    boxes: Int[Tensor, "B N 4"]
    """Box of each digit's ink on the canvas, x0 y0 x1 y1 in pixels, half open; without extent if all ink is lost beyond
    the canvas, zeros after the last digit."""
    sources: Int[Tensor, "B N"]
    """Index of each digit in its source dataset, -1 after the last."""

    def to(self, device: torch.device | str) -> SceneBatch:
        return SceneBatch(*(tensor.to(device) for tensor in self))


def render(ids: Int[Tensor, "B"], config: DataConfig, pool: Pool, seed: int, augmented: bool = False) -> SceneBatch:
    """Render the scenes with these ids, on the device of `ids` and `pool`.

    Args:
        ids: int64.
        pool: digits of size `config.digit_size`.
        augmented: apply `config.augment` to the digits and distractors.
    """
    spec = config.spec
    layout = LAYOUTS[config.family](ids, config, pool, seed)
    augment_config = config.augment if augmented and config.augment.changes_digits else None
    augment_fn = partial(_augment, augment_config, ids, pool.split, seed)
    digit_images, ink = _digit_images(layout, pool, augment_fn)
    if layout.bleed:
        ink = ink_boxes(_crop_to_canvas(digit_images, layout, spec).flatten(0, 1)).view_as(ink)
    images = paste(digit_images, layout.corners, spec.height, spec.width, layout.bleed, layout.take_maximum)
    if layout.distractors is not None:
        background = paste_distractors(layout.distractors, pool, augment_fn, spec)
        images = (images.short() + background).clamp(max=255).to(torch.uint8)
    if layout.marks is not None:
        images = torch.maximum(images, paste_marks(layout.marks, pool.digit_size, augment_fn, spec, layout.bleed))

    padding = (0, spec.max_length - layout.present.shape[1])
    present = F.pad(layout.present, padding)
    labels = pool.labels[layout.indices]
    digits = F.pad(labels, padding).masked_fill(~present, vocabulary.PAD)
    boxes = (ink + layout.corners.repeat(1, 1, 2)) * layout.present[..., None]
    return SceneBatch(
        images=images[:, None],
        digits=digits,
        tokens=vocabulary.encode(digits),
        cells=_cell_labels(layout, labels, spec, pool.digit_size),
        counts=present.sum(1),
        boxes=F.pad(boxes, (0, 0, *padding)),
        sources=F.pad(pool.source_indices[layout.indices], padding).masked_fill(~present, -1),
    )


def order_margins(ids: Int[Tensor, "B"], config: DataConfig, pool: Pool, seed: int) -> Int[Tensor, "B"] | None:
    """Compute the smallest move of one digit that would change each scene's reading order, pixels.

    None for a family without `order` (its order is fixed, or differs between its parts), and for `order=set`.
    """
    order = getattr(config, "order", "set")
    if order == "set":
        return None
    layout = LAYOUTS[config.family](ids, config, pool, seed)
    return reading_order.margin(order, layout.corners, layout.present, pool.digit_size)


def _augment(
    config: AugmentConfig | None,
    ids: Tensor,
    split: str,
    seed: int,
    images: Tensor,
    boxes: Tensor | None,
    present: Tensor,
    *stream: str,
) -> Tensor:
    """Augment digits, distractors and marks alike, so that only their shape differs.

    Args:
        images: of the slots that hold one, in order, M S S.
        boxes: boxes of their ink, M 4; None computes them.
        present: which slots hold an image, B N.
    """
    if config is None or not len(images):
        return images
    scenes, slots = present.nonzero(as_tuple=True)
    image_rng = rng.DigitRng(seed, split, ids[scenes], slots, stream)
    boxes = ink_boxes(images) if boxes is None else boxes
    return augment.augment_images(images, boxes, image_rng, config, images.shape[-1])


def _digit_images(layout: Layout, pool: Pool, augment_fn: AugmentFn) -> tuple[Tensor, Tensor]:
    """Return the images of the digits, B N S S, blank in empty slots, and their ink boxes in the frame, B N 4."""
    indices = layout.indices[layout.present]
    drawn, ink = pool.images.index_select(0, indices), pool.boxes[indices]
    images = augment_fn(drawn, ink, layout.present)
    ink = ink if images is drawn else ink_boxes(images)
    return into_slots(images, layout.present), into_slots(ink, layout.present)


def _crop_to_canvas(digit_images: Tensor, layout: Layout, spec: Spec) -> Tensor:
    """Blank the pixels of the digit images that lie beyond the canvas; B N S S."""
    offsets = torch.arange(digit_images.shape[-1], device=digit_images.device)
    x, y = (layout.corners[..., None] + offsets).unbind(2)
    inside_x, inside_y = (x >= 0) & (x < spec.width), (y >= 0) & (y < spec.height)
    return digit_images * (inside_x[..., None, :] & inside_y[..., None])


def _cell_labels(layout: Layout, labels: Tensor, spec: Spec, digit_size: int) -> Tensor:
    """Return what each cell of the canvas holds, B C; C = 0 where two digits can share a cell."""
    rows, cols = spec.cells
    centres = 2 * layout.corners + digit_size
    col, row = centres[..., 0] * cols // (2 * spec.width), centres[..., 1] * rows // (2 * spec.height)
    cells = labels.new_full((len(labels), rows * cols + 1), vocabulary.EMPTY_CELL)
    cell = (row * cols + col).masked_fill(~layout.present, rows * cols).clamp(0, rows * cols)
    return cells.scatter_(1, cell, labels)[:, :-1]
