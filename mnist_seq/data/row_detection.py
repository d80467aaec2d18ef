"""Row detection: where the writing is in small copies of pictures, and whether it is dark on light.

Shapes   B pictures   R rows of a picture   K rows of all pictures   S shapes of a row
         T U padded size of the small copies, even
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mnist_seq.data.digits import enclosing_boxes
from mnist_seq.data.levels import quantiles, to_grey_levels

SMALL_SIDE = 128
"""Longer side of the copy on which ink is found, pixels."""
_STROKE_WINDOW, _BOLD_WINDOW = 15, 47
"""What is lighter than its surroundings and narrower than this is a stroke, or a bold one, pixels of the small copy.
Bold strokes are found at half its resolution, which takes a quarter of the time."""
_MIN_BOLD_MASS, _MAX_EDGE = 1.7, 0.15
"""Bold strokes have this many times the ink of what is narrower, and cover less than this fraction of the edges."""
_LINE_LENGTH = 77
"""A level run of ink longer than this is a ruled line, pixels of the small copy."""
_MIN_CONTRAST, _MIN_BOLD_CONTRAST = 0.08, 0.25
"""Least contrast of ink, and of bold ink, which uneven light must not pass for, as fractions of white."""
_MIN_PEAK = 3.99
"""Least contrast of the darkest ink, in medians of the contrast; Gaussian noise has a peak of about 3."""
MAX_ROWS = 8
"""R, most rows of a picture that are read."""
_MIN_ROW_MASS, _MIN_ROW_HEIGHT = 0.02, 0.4
"""A row with less ink or less height than these fractions of the largest row's is dirt. A row of one 1 has about a
thirtieth of the ink of twelve eights."""
_MIN_SHAPE_HEIGHT = 0.6
"""A shape that may be a digit has at least this fraction of its row's height."""
_EPSILON = 3e-4
"""Least ink that counts. In a picture that is not shrunk, ink is a multiple of 1 / (3 * 255) or more, and often exactly
at a threshold; there, rounding errors, which differ between torch and ONNX Runtime, would decide."""


class Rows(NamedTuple):
    """The rows of writing in each picture, from top to bottom; those that are not present come last."""

    boxes: Int[Tensor, "B R 4"]
    """x0 y0 x1 y1, pixels of the small copy."""
    heights: Int[Tensor, "B R"]
    """Height of the writing, pixels of the small copy."""
    num_shapes: Int[Tensor, "B R"]
    """Shapes that are as tall as digits and apart from each other: at most as many as there are digits, since digits
    may touch, unless something else is as tall."""
    present: Bool[Tensor, "B R"]
    num_omitted: Int[Tensor, "B"]
    """Rows beyond these."""

    def merged(self) -> Rows:
        """Return all rows of each picture as one, whose writing is as tall as the tallest row."""
        box, height = enclosing_boxes(self.boxes, self.present)[:, None], self.heights.amax(1, keepdim=True)
        num_shapes = (self.num_shapes * self.present).sum(1, keepdim=True)
        return Rows(box, height, num_shapes, self.present.any(1, keepdim=True), self.num_omitted)


def is_dark_on_light(pictures: Float[Tensor, "B T U"], sizes: Int[Tensor, "B 2"]) -> Bool[Tensor, "B"]:
    """Tell whether ink is darker than paper: ink covers less area, which skews the levels minus their local mean."""
    inside = inside_of(sizes, *pictures.shape[1:]).float()
    index = torch.arange(SMALL_SIDE, device=pictures.device)
    window = ((index[:, None] - index).abs() <= SMALL_SIDE // 8).float()
    rows, cols = (window[:size, :size] for size in pictures.shape[1:])
    mean = (rows @ (pictures * inside) @ cols) / (rows @ inside @ cols).clamp(min=1)
    return (((pictures - mean) * inside) ** 3).sum((1, 2)) < 0


def find_ink(pictures: Float[Tensor, "B T U"], sizes: Int[Tensor, "B 2"]) -> Float[Tensor, "B T U"]:
    """Find strokes: lighter than all that surrounds them, and narrower than a window; in [0, 1].

    These are not strokes: what is wider than the window (a table, a shadow, a finger), what lies along most of an edge
    (a border), ruled lines, and what is as frequent as noise and print. If most of the ink is wider, a larger window
    is used, unless that ink reaches the edges, as a shadow does.
    """
    inside = inside_of(sizes, *pictures.shape[1:])
    ink = _narrower_than(_STROKE_WINDOW, _MIN_CONTRAST, _LINE_LENGTH, pictures, inside)
    halved = F.avg_pool2d(pictures[:, None], 2)[:, 0]
    inside = inside_of(sizes // 2, *halved.shape[1:])
    bold = _narrower_than(_BOLD_WINDOW // 2, _MIN_BOLD_CONTRAST, _LINE_LENGTH // 2 + 1, halved, inside)
    edges = inside & ~(F.avg_pool2d(inside[:, None].float(), 3, 1, 1)[:, 0] > 0.99)
    at_edges = (bold * edges).sum((1, 2)) / edges.sum((1, 2)).clamp(min=1)
    is_bold = (4 * bold.sum((1, 2)) > _MIN_BOLD_MASS * ink.sum((1, 2))) & (at_edges < _MAX_EDGE)
    return torch.where(is_bold[:, None, None], F.interpolate(bold[:, None], scale_factor=2)[:, 0], ink)


def _narrower_than(
    window: int,
    min_contrast: float,
    line_length: int,
    pictures: Float[Tensor, "B T U"],
    inside: Bool[Tensor, "B T U"],
) -> Float[Tensor, "B T U"]:
    """Return the ink that is narrower than a window, has at least some contrast, and is no ruled line."""
    contrast = (pictures - _open(pictures, inside, window, axes=(1, 2))).clamp(min=0) * inside
    levels = quantiles(to_grey_levels(contrast).flatten(1), inside.flatten(1).float(), (0.5, 0.99)) / 255
    noise, full = levels[:, :1, None], levels[:, 1:, None].clamp(min=min_contrast)
    contrast = contrast * (contrast.amax((1, 2), keepdim=True) >= (_MIN_PEAK * noise).clamp(min=min_contrast))
    ink = ((contrast - torch.maximum(0.3 * full, 2.5 * noise)) / (0.3 * full)).clamp(0, 1)
    ink = ink * ~_along_edges(ink > _EPSILON, inside)
    return ink - _open(ink, inside, line_length, axes=(2,)) * inside


def find_rows(ink: Float[Tensor, "B T U"]) -> Rows:
    """Find the rows with the most ink, at most `MAX_ROWS`."""
    profile = ink.sum(2)
    inked = profile > (0.01 * profile.amax(1, keepdim=True)).clamp(min=0.5) + _EPSILON
    joined = F.pad(inked, (1, 1)).unfold(1, 3, 1).any(-1)  # gaps of up to two pixels are no gaps
    of_row = _runs(joined)
    mass, height = (of_row * profile[:, None]).sum(2), of_row.sum(2)
    largest = mass.argmax(1, keepdim=True)
    kept = (mass > _MIN_ROW_MASS * mass.gather(1, largest) + _EPSILON) & (
        height >= _MIN_ROW_HEIGHT * height.gather(1, largest)
    )
    kept = kept & (mass > 1 + _EPSILON)
    best = (mass * kept).topk(MAX_ROWS).indices
    best = torch.where(kept.gather(1, best), best, SMALL_SIDE).sort(1).values  # from top to bottom, the rest last
    present, best = best < SMALL_SIDE, best.clamp(max=of_row.shape[1] - 1)
    rows = of_row.gather(1, best[..., None].expand(-1, -1, of_row.shape[2])) & inked[:, None]
    cols = (rows.float() @ ink) > 0.5 + _EPSILON
    (top, bottom), (left, right) = _extent(rows), _extent(cols)
    boxes, num_omitted = torch.stack([left, top, right, bottom], -1), kept.sum(1) - present.sum(1)
    picture, row = found = (present | (torch.arange(MAX_ROWS, device=ink.device) == 0)).nonzero().unbind(1)
    counts = _count_shapes(ink[picture], rows[picture, row], cols[picture, row])
    return Rows(boxes, bottom - top, torch.zeros_like(top).index_put(found, counts), present, num_omitted)


def _count_shapes(
    ink: Float[Tensor, "K T U"], rows: Bool[Tensor, "K T"], cols: Bool[Tensor, "K U"]
) -> Int[Tensor, "K"]:
    """Count the shapes of each row that are as tall as digits.

    Args:
        ink: of the picture of each row.
        rows: lines of the picture that each row covers.
        cols: columns in which it has ink.
    """
    of_shape = _runs(cols)  # K S U
    covered = of_shape.float() @ ink.mT > 0.5 + _EPSILON  # K S T: which lines of the picture each shape has ink on
    heights = (covered & rows[:, None]).sum(2)
    first, last = _extent(rows)
    return (heights >= (_MIN_SHAPE_HEIGHT * (last - first)[:, None]).clamp(min=2)).sum(1)


def _runs(marked: Bool[Tensor, "*B T"]) -> Bool[Tensor, "*B S T"]:
    """Return the positions of each run of marked positions; S = T / 2 - 1 is more than there can be."""
    starts = marked & ~F.pad(marked, (1, 0))[..., :-1]
    number = starts.long().cumsum(-1) * marked  # 0 between runs, then 1, 2, ...
    return number[..., None, :] == torch.arange(1, marked.shape[-1] // 2, device=marked.device)[:, None]


def inside_of(sizes: Int[Tensor, "B 2"], height: int, width: int) -> Bool[Tensor, "B {height} {width}"]:
    """Return which pixels of padded planes belong to pictures of these sizes."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    cols = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows[..., None] & cols[:, None]


def _extent(marked: Bool[Tensor, "*B T"]) -> tuple[Int[Tensor, "*B"], Int[Tensor, "*B"]]:
    """Return where the marked positions begin and end, half open."""
    index = torch.arange(marked.shape[-1], device=marked.device)
    first = torch.where(marked, index, marked.shape[-1]).amin(-1)
    return first, torch.where(marked, index + 1, 0).amax(-1).maximum(first)


def _along_edges(marked: Bool[Tensor, "B T U"], inside: Bool[Tensor, "B T U"]) -> Bool[Tensor, "B T U"]:
    """Return what reaches inwards without a gap from those edges of the pictures that are marked for the most part."""
    reached = torch.zeros_like(marked)
    gap = ~marked & inside
    for axis in (1, 2):
        before, length = gap.long().cumsum(axis), inside.any(axis).sum(1)
        for run in (before == 0, before == before.amax(axis, keepdim=True)):  # from the near edge, from the far edge
            run = run & ~gap & inside
            reached = reached | (run & (2 * run.any(axis).sum(1) > length)[:, None, None])
    return reached


def _open(
    images: Float[Tensor, "B T U"], inside: Bool[Tensor, "B T U"], window: int, axes: tuple[int, ...]
) -> Float[Tensor, "B T U"]:
    """Remove what is light and shorter than a window; beyond the edges of a picture, it goes on as light as can be."""
    eroded = -_max_filter((-images).masked_fill(~inside, -1), window, axes)
    return _max_filter(eroded.masked_fill(~inside, 0), window, axes)


def _max_filter(images: Float[Tensor, "B T U"], window: int, axes: tuple[int, ...]) -> Float[Tensor, "B T U"]:
    """Take the maximum over a window around each pixel.

    In torch, the window grows by doubling, which is faster than pooling. An exported graph pools: one node instead of a
    dozen or more, which makes it a tenth faster to load in a browser.

    Args:
        images: values of at least -1.
        window: width of the window, odd, pixels.
    """
    half = window // 2
    if torch.compiler.is_exporting():
        for axis in axes:
            kernel, padding = ((1, window), (0, half)) if axis == 2 else ((window, 1), (half, 0))
            images = F.max_pool2d(images[:, None], kernel, 1, padding)[:, 0]
        return images
    for axis in axes:
        length = images.shape[axis]
        images = F.pad(images, (half, half) if axis == 2 else (0, 0, half, half), value=-1)
        covered = 1
        while covered < window:
            shift = min(covered, window - covered)
            rest = images.shape[axis] - shift
            images = torch.maximum(images.narrow(axis, 0, rest), images.narrow(axis, shift, rest))
            covered += shift
        assert images.shape[axis] == length
    return images
