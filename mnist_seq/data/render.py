"""Render scenes: ids -> images and ground truth, as a pure function of (seed, split, id).

Shapes   B scenes   N slots for digits   H W canvas   C cells   S side of a digit's frame   D distractors
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int, UInt8
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import AugmentConfig, DataConfig, Spec
from mnist_seq.data import augment, reading_order, rng
from mnist_seq.data.compositing import flat_pixel_indices, paste
from mnist_seq.data.digits import Pool, ink_boxes
from mnist_seq.data.layout_types import Distractors, Layout, Marks
from mnist_seq.data.layouts import DISTRACTOR_SIZE, LAYOUTS
from mnist_seq.data.marks import mark_boxes, mark_images


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
    digit_images, ink = _digit_images(ids, layout, pool, seed, augment_config)
    if layout.bleed:
        ink = ink_boxes(_crop_to_canvas(digit_images, layout, spec).flatten(0, 1)).view_as(ink)
    images = paste(digit_images, layout.corners, spec.height, spec.width, layout.bleed, layout.take_maximum)
    if layout.distractors is not None:
        background = _render_distractors(ids, layout.distractors, pool, seed, augment_config, spec)
        images = (images.short() + background).clamp(max=255).to(torch.uint8)
    if layout.marks is not None:
        marks = _render_marks(ids, layout.marks, pool, seed, augment_config, spec, layout.bleed)
        images = torch.maximum(images, marks)

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


def _digit_images(
    ids: Tensor, layout: Layout, pool: Pool, seed: int, augment_config: AugmentConfig | None
) -> tuple[Tensor, Tensor]:
    """Return the images of the digits, B N S S, blank in empty slots, and their ink boxes in the frame, B N 4."""
    indices = layout.indices.flatten()
    images, ink = pool.images.index_select(0, indices), pool.boxes[indices]
    if augment_config is not None:
        digit_rng = rng.DigitRng(seed, pool.split, ids, slots=layout.indices.shape[1])
        images = augment.augment_images(images, ink, digit_rng, augment_config, pool.digit_size)
        ink = ink_boxes(images)
    images = images * layout.present.view(-1, 1, 1)
    return images.unflatten(0, layout.indices.shape), ink.unflatten(0, layout.indices.shape)


def _render_distractors(
    ids: Tensor, distractors: Distractors, pool: Pool, seed: int, augment_config: AugmentConfig | None, spec: Spec
) -> Tensor:
    """Paste distractors over each other; B H W, uint8. They are augmented as digits are, so that only shape differs."""
    indices = distractors.indices
    images = pool.clutter.index_select(0, indices.flatten())
    if augment_config is not None:
        digit_rng = rng.DigitRng(seed, pool.split, ids, slots=indices.shape[1], stream=("fragments",))
        images = augment.augment_images(images, ink_boxes(images), digit_rng, augment_config, images.shape[-1])
    size = (DISTRACTOR_SIZE, DISTRACTOR_SIZE)
    pieces = images.view(*indices.shape, -1).gather(2, flat_pixel_indices(distractors.crops, size, images.shape[-1]))
    num_pixels = spec.height * spec.width
    targets = flat_pixel_indices(distractors.corners, size, spec.width)
    targets = targets.masked_fill(~distractors.present[..., None], num_pixels)  # absent ones go to a pixel to discard
    canvas = torch.zeros(len(ids), num_pixels + 1, dtype=torch.uint8, device=ids.device)
    for index in range(indices.shape[1]):
        canvas.scatter_(1, targets[:, index], pieces[:, index])
    return canvas[:, :-1].view(-1, spec.height, spec.width)


def _render_marks(
    ids: Tensor, marks: Marks, pool: Pool, seed: int, augment_config: AugmentConfig | None, spec: Spec, bleed: int
) -> Tensor:
    """Add up marks; B H W, uint8. They are augmented as digits are, so that only shape differs."""
    indices, size, num_marks = marks.indices.flatten(), pool.digit_size, marks.indices.shape[1]
    images, boxes = (of_all(size, ids.device)[indices] for of_all in (mark_images, mark_boxes))
    if augment_config is not None:
        mark_rng = rng.DigitRng(seed, pool.split, ids, slots=num_marks, stream=("marks",))
        images = augment.augment_images(images, boxes, mark_rng, augment_config, size)
    images = images.unflatten(0, marks.indices.shape) * marks.present[..., None, None]
    return paste(images, marks.corners, spec.height, spec.width, bleed)


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
