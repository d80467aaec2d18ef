"""Digits as they are written in continental Europe and Latin America: MNIST, from the United States, has few of them.

Ones get an upstroke, sevens a crossbar, and some of the others are drawn anew in another form.

Shapes   P digits of a pool   S side of a digit image
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mnist_seq.config.validation import check
from mnist_seq.data import rng
from mnist_seq.data.digits import MNIST_SIZE, Pool, ink_boxes
from mnist_seq.data.sources import NOT_DIGITS, DigitSource
from mnist_seq.data.strokes import draw_curves, draw_strokes

_UPSTROKE_LENGTHS, _CROSSBAR_LENGTHS = (5.0, 19.0), (5.0, 11.0)
"""Ranges of the lengths of strokes, pixels of a 28x28 frame."""
_WIDTHS = (1.6, 3.2)
"""Range of the widths of strokes and curves, pixels of a 28x28 frame."""
_UPSTROKE_ANGLES, _CROSSBAR_ANGLES = (25.0, 70.0), (-15.0, 15.0)
"""Ranges of the angles to the horizontal, degrees; an upstroke falls from the top of the one to the left."""
_REDRAWN = 0.5
"""Part of the share of other digits that is drawn anew: MNIST's own form is common everywhere."""
_JITTER = 1.6
"""Largest shift of each point of a curve along each axis, pixels of a 28x28 frame."""

_Curve = list[tuple[int, int]]
_FORMS: dict[int, list[list[_Curve]]] = {
    0: [  # closed by a loop or a tail at the top, or wide and joined to the next digit
        [[(15, 5), (9, 8), (7, 15), (12, 22), (19, 18), (19, 9), (14, 5), (11, 8), (15, 10), (22, 7)]],
        [[(14, 6), (8, 9), (7, 16), (12, 22), (18, 17), (18, 9), (13, 5), (17, 7), (23, 5)]],
        [[(16, 9), (9, 9), (5, 14), (10, 20), (19, 20), (23, 14), (18, 9), (14, 9)]],
        [[(15, 9), (9, 10), (6, 15), (10, 20), (18, 18), (19, 12), (14, 9), (20, 10), (26, 9)]],
        [[(17, 10), (10, 9), (7, 14), (11, 20), (18, 18), (19, 11), (15, 8), (11, 9)]],
    ],
    2: [  # with a loop at the foot, or at both ends
        [[(8, 9), (12, 5), (18, 6), (19, 11), (15, 18), (9, 22), (6, 20), (9, 17), (15, 21), (22, 21)]],
        [[(8, 11), (10, 5), (18, 5), (21, 12), (17, 20), (10, 22), (7, 19), (11, 17), (16, 21), (22, 23)]],
        [[(12, 12), (8, 10), (11, 5), (17, 5), (19, 10), (15, 17), (9, 22), (6, 20), (10, 18), (15, 21), (22, 21)]],
    ],
    4: [  # like an h, or a cross with a bent arm
        [[(10, 4), (8, 11), (7, 18), (11, 15), (16, 14), (16, 18), (14, 24)]],
        [[(10, 4), (8, 11), (7, 17), (12, 16), (20, 14)], [(17, 9), (16, 16), (14, 25)]],
        [[(13, 4), (8, 12), (6, 18), (13, 17), (21, 16)], [(16, 12), (15, 18), (14, 25)]],
    ],
    5: [  # without a bowl
        [[(13, 6), (11, 12), (13, 17), (11, 22), (6, 23), (4, 20)], [(13, 6), (17, 5), (22, 4)]],
        [[(14, 5), (13, 12), (12, 19), (9, 23), (5, 21)], [(14, 5), (18, 5), (23, 4)]],
        [[(5, 17), (8, 23), (11, 15), (13, 5), (18, 5), (23, 4)]],
    ],
    9: [  # like a P: the stem begins at the left of the loop
        [[(17, 14), (11, 13), (9, 8), (13, 4), (18, 7), (15, 13), (12, 19), (10, 25)]],
        [[(10, 25), (11, 17), (12, 10), (15, 5), (19, 8), (17, 13), (11, 14), (8, 12)]],
        [[(8, 9), (11, 13), (17, 12), (19, 7), (14, 4), (10, 8), (11, 16), (10, 25)]],
    ],
}
"""Label -> forms -> their curves, x y in a frame of 28x28 pixels; digits stand from y = 4 to 24."""


def train_pool(source: DigitSource, continental: float) -> Pool:
    """Return the digits to train on, some of them in other forms.

    Raises:
        UserError: forms of digits for classes that are no digits.
    """
    check(
        continental == 0 or source.name not in NOT_DIGITS,
        f"data.augment.continental={continental:g} redraws digits, and {source.name} has none: set it to 0",
    )
    return add_continental_forms(source.pools["train"], continental)


def add_continental_forms(pool: Pool, share: float) -> Pool:
    """Add an upstroke to this share of a pool's ones and a crossbar to this share of its sevens; draw others anew.

    Half of this share of 0, 2, 4, 5 and 9 is drawn anew. An image is changed always or never, whatever the scene: this
    is a function of its index in the source.
    """
    if share == 0:
        return pool
    images, size = pool.images.clone(), pool.digit_size
    ranks = _uniform("chosen", pool.source_indices, (0.0, 1.0))
    for label, add in ((1, _upstrokes), (7, _crossbars)):
        (indices,) = ((pool.labels == label) & (ranks < share)).nonzero(as_tuple=True)
        strokes = draw_strokes(*add(images[indices], pool.source_indices[indices]), size)
        images[indices] = images[indices].maximum(_to_ink(strokes))
    for label, forms in _FORMS.items():
        form = rng.integers(rng.key(0, "continental", "form"), pool.source_indices, 1, len(forms))[:, 0]
        for number, curves in enumerate(forms):
            redrawn = (pool.labels == label) & (form == number) & (ranks < _REDRAWN * share)
            (indices,) = redrawn.nonzero(as_tuple=True)
            images[indices] = _to_ink(_draw_form(curves, pool.source_indices[indices], size))
    return replace(pool, images=images, boxes=ink_boxes(images))


def _draw_form(curves: list[_Curve], ids: Int[Tensor, "P"], size: int) -> Float[Tensor, "P S S"]:
    """Draw a form once for each id, with its own shifts of the points and its own width."""
    scale, width = size / MNIST_SIZE, _uniform("width", ids, _WIDTHS)
    start = rng.uniform(rng.key(0, "continental", "start"), ids, 2)
    image = torch.zeros(len(ids), size, size)
    for number, curve in enumerate(curves):
        shifts = rng.uniform(rng.key(0, "continental", f"curve {number}"), ids, 2 * len(curve)).unflatten(1, (-1, 2))
        shifts[:, 0] = start  # curves that begin at one point do so in every copy
        points = torch.tensor(curve) + _JITTER * (2 * shifts - 1)
        image = image.maximum(draw_curves(points * scale, width * scale, size))
    return image


def _to_ink(coverage: Float[Tensor, "P S S"]) -> UInt8[Tensor, "P S S"]:
    return (255 * coverage).round().to(torch.uint8)


def _upstrokes(images: UInt8[Tensor, "P S S"], ids: Int[Tensor, "P"]) -> tuple[Tensor, Tensor]:
    """Return the ends and widths of strokes that fall to the left from where the ink of each image begins."""
    scale, boxes = images.shape[-1] / MNIST_SIZE, ink_boxes(images)
    top = boxes[:, 1] + 1
    x = _ink_centre(images, top)
    length, angle, width = _stroke(ids, scale, _UPSTROKE_LENGTHS, _UPSTROKE_ANGLES)
    length = length.minimum((boxes[:, 3] - top) / angle.sin())  # it ends no lower than the stem
    return torch.stack([x - length * angle.cos(), top + length * angle.sin(), x, top.float()], 1), width


def _crossbars(images: UInt8[Tensor, "P S S"], ids: Int[Tensor, "P"]) -> tuple[Tensor, Tensor]:
    """Return the ends and widths of strokes across the lower stem of each image."""
    scale, boxes = images.shape[-1] / MNIST_SIZE, ink_boxes(images)
    y = (0.45 * boxes[:, 1] + 0.55 * boxes[:, 3]).long()
    x = _ink_centre(images, y)
    length, angle, width = _stroke(ids, scale, _CROSSBAR_LENGTHS, _CROSSBAR_ANGLES)
    dx, dy = length * angle.cos() / 2, length * angle.sin() / 2
    return torch.stack([x - dx, y + dy, x + dx, y - dy], 1), width


def _ink_centre(images: UInt8[Tensor, "P S S"], rows: Int[Tensor, "P"]) -> Float[Tensor, "P"]:
    """Return the mean x of the ink in one row of each image, pixels."""
    ink = images[torch.arange(len(images)), rows.clamp(0, images.shape[-1] - 1)].float()
    centres = torch.arange(images.shape[-1]) + 0.5
    return (ink * centres).sum(1) / ink.sum(1).clamp(min=1)


def _stroke(
    ids: Int[Tensor, "P"], scale: float, lengths: tuple[float, float], angles: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the length, the angle in radians, and the width of each stroke."""
    angle = _uniform("angle", ids, angles) * (math.pi / 180)
    return _uniform("length", ids, lengths) * scale, angle, _uniform("width", ids, _WIDTHS) * scale


def _uniform(purpose: str, ids: Int[Tensor, "P"], bounds: tuple[float, float]) -> Float[Tensor, "P"]:
    """Draw a number between bounds for each digit."""
    low, high = bounds
    return low + (high - low) * rng.uniform(rng.key(0, "continental", purpose), ids, 1)[:, 0]
