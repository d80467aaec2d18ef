"""Marks that are written between and after digits: points, commas, dashes and other strokes.

Shapes   M marks, then scrawls   S side of a frame
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mnist_seq.config import Spec
from mnist_seq.data.compositing import into_slots, paste
from mnist_seq.data.digits import MNIST_SIZE, ink_boxes
from mnist_seq.data.layout_types import Marks
from mnist_seq.data.scrawls import scrawl_images
from mnist_seq.data.strokes import draw_strokes, sample_between

AugmentFn = Callable[..., Tensor]
_CPU = torch.device("cpu")
_VARIANTS = 48
"""Images of each kind of mark."""
_JITTER = 1.5
"""Largest shift of each end of a stroke along each axis, pixels."""
_STROKE_WIDTHS = (1.5, 4.0)
"""Range of stroke widths, pixels; MNIST's strokes are 2 to 4 pixels wide."""
_SCALES = (0.5, 1.25)
"""Range of the size of a mark relative to the strokes below, about their centre."""

_STROKES: dict[str, list[tuple[int | float, ...]]] = {
    "point": [(14, 22.5, 14, 22.5)],
    "comma": [(14.5, 21.5, 13, 26)],
    "colon": [(14, 13, 14, 13), (14, 21, 14, 21)],
    "three points": [(11, 21, 11, 21), (17, 21, 17, 21), (14, 15, 14, 15)],
    "dash": [(8, 15, 20, 14)],
    "long dash": [(2, 15, 26, 13)],
    "raised dash": [(9, 6, 19, 5)],
    "double dash": [(8, 11, 20, 11), (8, 17, 20, 17)],
    "raised double dash": [(8, 5, 19, 4), (8, 10, 19, 9)],
    "point and dash": [(6, 22, 6, 22), (11, 15, 22, 14)],
    "point and long dash": [(4, 22, 4, 22), (8, 16, 26, 12)],
    "slash": [(10, 21, 16, 12)],
    "two slashes": [(9, 21, 13, 12), (15, 21, 19, 12)],
    "hash": [(10, 21, 13, 9), (15, 21, 18, 9), (7, 13, 21, 12), (7, 18, 20, 17)],
    "angle": [(18, 11, 11, 14), (11, 14, 18, 18)],
    "wave": [(8, 16, 12, 13), (12, 13, 15, 16), (15, 16, 19, 12)],
}
"""Kind of mark -> its strokes, x0 y0 x1 y1 in the frame of an MNIST digit; digits stand from y = 4 to 24."""

NUM_MARKS = _VARIANTS * len(_STROKES)


@cache
def mark_images(size: int, device: torch.device = _CPU) -> UInt8[Tensor, "M {size} {size}"]:
    """Draw NUM_MARKS marks, then the scrawls, kind by kind: ink on a background of 0.

    They are the same in every run and on every device.

    Args:
        size: side of the frames, pixels.
    """
    if device != _CPU:
        return mark_images(size).to(device)
    marks = [_draw_mark(kind, strokes, size) for kind, strokes in _STROKES.items()]
    images = torch.cat([*marks, *scrawl_images(size).values()])
    return (255 * images).round().to(torch.uint8)


@cache
def mark_boxes(size: int, device: torch.device = _CPU) -> Int[Tensor, "M 4"]:
    """Compute the box of the ink of each mark and scrawl, x0 y0 x1 y1 in pixels, half open."""
    return ink_boxes(mark_images(size, device))


def paste_marks(
    marks: Marks, size: int, augment_fn: AugmentFn, spec: Spec, bleed: int
) -> UInt8[Tensor, "B {spec.height} {spec.width}"]:
    """Augment marks and add them up on each canvas.

    Args:
        size: side of the frames, pixels.
        augment_fn: of images, M S S, their boxes, the slots that hold them, and the name of a random stream.
        bleed: how far a frame may reach beyond the canvas, pixels.
    """
    indices = marks.indices[marks.present]
    images, boxes = (of_all(size, indices.device)[indices] for of_all in (mark_images, mark_boxes))
    images = into_slots(augment_fn(images, boxes, marks.present, "marks"), marks.present)
    return paste(images, marks.corners, spec.height, spec.width, bleed)


def _draw_mark(kind: str, strokes: list[tuple[int | float, ...]], size: int) -> Float[Tensor, "V S S"]:
    """Draw variants of a mark, V; each has its own size, and each of its strokes its own ends and width."""
    variants, unit = torch.arange(_VARIANTS), size / MNIST_SIZE
    scale = _uniform(f"{kind} size", variants, 1, _SCALES)
    centre = torch.tensor(strokes).float().view(-1, 2).mean(0).repeat(2)
    images = torch.zeros(_VARIANTS, size, size)
    for number, stroke in enumerate(strokes):
        jitter = _uniform(f"{kind} {number}", variants, 4, (-_JITTER, _JITTER))
        width = _uniform(f"{kind} {number} width", variants, 1, _STROKE_WIDTHS)[:, 0]
        ends = centre + scale * (torch.tensor(stroke) - centre) + jitter
        images = images.maximum(draw_strokes(ends * unit, width * unit, size))
    return images


def _uniform(purpose: str, ids: Int[Tensor, "V"], slots: int, bounds: tuple[float, float]) -> Float[Tensor, "V slots"]:
    return sample_between("marks", purpose, ids, slots, bounds)
