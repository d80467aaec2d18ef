"""From pictures of any size to the canvases that a model reads: one torch module, batched, and exportable to ONNX.

Written rows are found on a small copy of the picture, cut out of the picture itself, scaled and levelled. Nothing is
cleaned: paper, print and noise are left for the model, which was trained on them.

Shapes   B pictures   Y X padded size of the pictures   R rows   h w canvas   T side of the small copy
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from mnist_seq.config import Spec
from mnist_seq.data.digits import enclosing_boxes
from mnist_seq.data.image_io import LUMA_WEIGHTS
from mnist_seq.data.levels import quantiles, stretch_levels

_SMALL_SIDE = 128
"""T, the longer side of the copy on which ink is found, pixels."""
_STROKE_WINDOW = 15
"""What is darker than its surroundings and narrower than this is a stroke, pixels of the small copy."""
_LINE_LENGTH = 77
"""A level run of ink longer than this is a ruled line, pixels of the small copy."""
_MIN_CONTRAST = 0.08
"""Least contrast of ink, as a fraction of white."""
_MIN_ROW_MASS, _MIN_ROW_HEIGHT = 0.15, 0.4
"""A row with less ink or less height than these fractions of the largest row's is dirt."""
_MARGIN = 0.18
"""Margin around a row, as a fraction of its height."""
_DIGIT_HEIGHT = 20 / 28
"""Height of a digit, as a fraction of its frame, as in MNIST."""


class Canvases(NamedTuple):
    """What was found in each picture, from top to bottom."""

    images: Float[Tensor, "B R h w"]
    """In [0, 1], ink on a background of 0."""
    present: Bool[Tensor, "B R"]
    """Which rows there are; they come first."""
    windows: Float[Tensor, "B R 4"]
    """The part of the picture that each canvas shows, x0 y0 x1 y1 in pixels of the picture."""


class Preprocess(nn.Module):
    """Find what is written, and draw it on canvases: each row on its own, or all of it on one.

    A picture of the canvas' size is not cut.

    Args:
        spec: of the model.
        max_rows: R, rows that are cut out; None draws all that is written on one canvas, R = 1.
    """

    def __init__(self, spec: Spec, max_rows: int | None = None) -> None:
        super().__init__()
        self.canvas_size, self.max_rows = (spec.height, spec.width), max_rows

    def forward(self, pictures: UInt8[Tensor, "B 4 Y X"], sizes: Int[Tensor, "B 2"]) -> Canvases:
        """Cut out what is written.

        Args:
            pictures: RGBA, each in the upper left corner of its padded plane.
            sizes: height and width of each picture, pixels, at most Y and X.
        """
        inside = _inside(sizes, pictures.shape[2], pictures.shape[3])
        grey = composite(pictures, inside)
        small, small_inside, scale = shrink(grey, inside, sizes)
        dark_on_light = is_dark_on_light(small, small_inside)[:, None, None]
        grey, small = torch.where(dark_on_light, 1 - grey, grey), torch.where(dark_on_light, 1 - small, small)
        rows, present = find_rows(find_ink(small, small_inside), self.max_rows or 8)
        if self.max_rows is None:
            rows, present = enclosing_boxes(rows, present)[:, None], present.any(1, keepdim=True)
        windows = self._windows(rows / scale[:, None, None], sizes)
        images = cut(grey, inside, windows, self.canvas_size)
        return Canvases(images * present[..., None, None], present, windows)

    def _windows(self, rows: Tensor, sizes: Tensor) -> Float[Tensor, "B R 4"]:
        """Grow rows by a margin, and to the shape of the canvas; a picture of its size is one window."""
        height, width = self.canvas_size
        extent = rows[..., 2:] - rows[..., :2]
        row_height = extent[..., 1:]
        margin = row_height * (1 / _DIGIT_HEIGHT - 1) / 2 if self.max_rows is None else row_height * _MARGIN
        needed = extent + 2 * margin
        scale = torch.minimum(width / needed[..., :1], height / needed[..., 1:])
        canvas = torch.tensor([width, height], device=rows.device) / scale
        centre = (rows[..., :2] + rows[..., 2:]) / 2
        windows = torch.cat([centre - canvas / 2, centre + canvas / 2], -1)
        whole = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], 1)[:, None]
        exact = (sizes == sizes.new_tensor(self.canvas_size)).all(1)[:, None, None]
        return torch.where(exact, whole, windows)


def composite(pictures: UInt8[Tensor, "B 4 Y X"], inside: Bool[Tensor, "B Y X"]) -> Float[Tensor, "B Y X"]:
    """Convert to grey in [0, 1]; what is transparent shows paper.

    Paper is the mean of what is opaque where that is most of the picture, and else the opposite of the strokes on it.
    """
    weights = torch.tensor(LUMA_WEIGHTS, device=pictures.device) / 255
    grey = torch.einsum("bcyx,c->byx", pictures[:, :3].float(), weights)
    alpha = pictures[:, 3].float() / 255 * inside
    opaque = alpha.sum((1, 2)).clamp(min=1)
    level = (grey * alpha).sum((1, 2)) / opaque
    paper = torch.where(opaque > inside.sum((1, 2)) / 2, level, (level < 0.5).float())
    return grey * alpha + paper[:, None, None] * (1 - alpha)


def shrink(
    grey: Float[Tensor, "B Y X"], inside: Bool[Tensor, "B Y X"], sizes: Int[Tensor, "B 2"]
) -> tuple[Float[Tensor, "B T T"], Bool[Tensor, "B T T"], Float[Tensor, "B"]]:
    """Shrink pictures to at most T pixels on the longer side, by averaging.

    Returns:
        The small pictures, which of their pixels belong to the picture, and pixels of theirs per pixel of the picture.
    """
    scale = (_SMALL_SIDE / sizes.amax(1)).clamp(max=1)
    small_sizes = (sizes * scale[:, None]).ceil()
    index = torch.arange(_SMALL_SIDE, device=grey.device) + 0.5
    rows, cols = (resampling(index / scale[:, None], 1 / scale, length) for length in grey.shape[1:])
    small, weight = (it[:, 0] for it in _resample(grey, inside, rows[:, None], cols[:, None]))
    return small / weight.clamp(min=1e-6), _inside(small_sizes, _SMALL_SIDE, _SMALL_SIDE), scale


def is_dark_on_light(pictures: Float[Tensor, "B T T"], inside: Bool[Tensor, "B T T"]) -> Bool[Tensor, "B"]:
    """Tell whether ink is darker than paper: it covers the smaller part, which skews what is left without the light."""
    window = _SMALL_SIDE // 4 + 1
    mean, weight = (
        F.avg_pool2d(it[:, None], window, 1, window // 2, count_include_pad=True)[:, 0]
        for it in (pictures * inside, inside.float())
    )
    residual = (pictures - mean / weight.clamp(min=1e-6)) * inside
    return (residual**3).sum((1, 2)) < 0


def find_ink(pictures: Float[Tensor, "B T T"], inside: Bool[Tensor, "B T T"]) -> Float[Tensor, "B T T"]:
    """Find strokes: lighter than all that surrounds them, and narrower than a window; in [0, 1].

    What is wider than the window is no stroke (a desk, a shadow, a finger), nor what lies along most of an edge (a
    border), nor a ruled line, nor what is as frequent as noise and print.
    """
    outside = ~inside
    eroded = _pool_min(pictures.masked_fill(outside, 1), _STROKE_WINDOW, _STROKE_WINDOW)
    opened = _pool_max(eroded.masked_fill(outside, 0), _STROKE_WINDOW, _STROKE_WINDOW)
    contrast = (pictures - opened).clamp(min=0) * inside
    contrast = contrast * (contrast.amax((1, 2), keepdim=True) >= _MIN_CONTRAST)
    levels = quantiles((255 * contrast).long().flatten(1), inside.flatten(1).float(), (0.5, 0.99)) / 255
    noise, full = levels[:, :1, None], levels[:, 1:, None].clamp(min=_MIN_CONTRAST)
    ink = ((contrast - torch.maximum(0.3 * full, 2.5 * noise)) / (0.3 * full)).clamp(0, 1)
    ink = ink * ~_along_edges(ink > 0, inside)
    return ink - _pool_max(_pool_min(ink, 1, _LINE_LENGTH), 1, _LINE_LENGTH)


def find_rows(ink: Float[Tensor, "B T T"], max_rows: int) -> tuple[Int[Tensor, "B R 4"], Bool[Tensor, "B R"]]:
    """Find the rows with the most ink, from top to bottom.

    Returns:
        Box of each row, x0 y0 x1 y1 in pixels of the small picture, and which rows there are.
    """
    profile = ink.sum(2)
    inked = profile > (0.03 * profile.amax(1, keepdim=True)).clamp(min=0.5)
    inked = F.max_pool1d(inked[:, None].float(), 3, 1, 1)[:, 0] > 0
    starts = inked & ~F.pad(inked, (1, 0))[:, :-1]
    number = starts.cumsum(1) * inked  # 0 between rows, then 1, 2, ...
    of_row = number[:, None] == torch.arange(1, _SMALL_SIDE // 2, device=ink.device)[:, None]  # B K T
    mass, height = (of_row * profile[:, None]).sum(2), of_row.sum(2)
    largest = mass.argmax(1, keepdim=True)
    kept = (mass >= _MIN_ROW_MASS * mass.gather(1, largest)) & (height >= _MIN_ROW_HEIGHT * height.gather(1, largest))
    kept = kept & (mass > 1)
    best = (mass * kept).topk(max_rows).indices
    best = torch.where(kept.gather(1, best), best, _SMALL_SIDE).sort(1).values  # from top to bottom, the rest last
    present, best = best < _SMALL_SIDE, best.clamp(max=of_row.shape[1] - 1)
    rows = of_row.gather(1, best[..., None].expand(-1, -1, _SMALL_SIDE))
    cols = (rows.float() @ ink) > 0.5
    (top, bottom), (left, right) = _extent(rows), _extent(cols)
    return torch.stack([left, top, right, bottom], -1), present


def cut(
    grey: Float[Tensor, "B Y X"],
    inside: Bool[Tensor, "B Y X"],
    windows: Float[Tensor, "B R 4"],
    size: tuple[int, int],
) -> Float[Tensor, "B R h w"]:
    """Resample windows of pictures to a size, and level each of them; what lies outside the picture is 0."""
    (height, width), step = size, (windows[..., 2:] - windows[..., :2]) / windows.new_tensor([size[1], size[0]])
    x = windows[..., :1] + (torch.arange(width, device=grey.device) + 0.5) * step[..., :1]
    y = windows[..., 1:2] + (torch.arange(height, device=grey.device) + 0.5) * step[..., 1:]
    rows, cols = resampling(y, step[..., 1], grey.shape[1]), resampling(x, step[..., 0], grey.shape[2])
    sampled, weight = _resample(grey, inside, rows, cols)
    covered = weight > 0.5
    levelled = stretch_levels((sampled / weight.clamp(min=0.5)).flatten(0, 1), covered.flatten(0, 1))
    return levelled.unflatten(0, windows.shape[:2])


def resampling(
    positions: Float[Tensor, "*L K"], step: Float[Tensor, "*L"], length: int
) -> Float[Tensor, "*L K {length}"]:
    """Return the weights of every pixel of an axis at each position: a triangle two steps wide, at least 2 pixels.

    Args:
        positions: pixels from the edge.
        step: distance of the positions, pixels.
        length: of the axis, pixels.
    """
    centres = torch.arange(length, device=positions.device) + 0.5
    radius = step.clamp(min=1)[..., None, None]
    weights = (1 - (positions[..., None] - centres).abs() / radius).clamp(min=0)
    return weights / radius


def _resample(
    grey: Float[Tensor, "B Y X"],
    inside: Bool[Tensor, "B Y X"],
    rows: Float[Tensor, "B R h Y"],
    cols: Float[Tensor, "B R w X"],
) -> tuple[Float[Tensor, "B R h w"], Float[Tensor, "B R h w"]]:
    """Sum pixels by weights of their rows and columns; return the sums, and the weight that lies in the picture."""
    weight = (rows @ inside.any(2).float()[:, None, :, None]) * (cols @ inside.any(1).float()[:, None, :, None]).mT
    return rows @ (grey * inside)[:, None] @ cols.mT, weight


def _inside(sizes: Tensor, height: int, width: int) -> Bool[Tensor, "B {height} {width}"]:
    """Return which pixels of padded planes belong to pictures of these sizes."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    cols = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows[..., None] & cols[:, None]


def _extent(marked: Bool[Tensor, "B R T"]) -> tuple[Int[Tensor, "B R"], Int[Tensor, "B R"]]:
    """Return where the marked positions begin and end, half open."""
    index = torch.arange(marked.shape[-1], device=marked.device)
    first = torch.where(marked, index, marked.shape[-1]).amin(-1)
    return first, torch.where(marked, index + 1, 0).amax(-1).maximum(first)


def _along_edges(marked: Bool[Tensor, "B T T"], inside: Bool[Tensor, "B T T"]) -> Bool[Tensor, "B T T"]:
    """Return what reaches inwards without a gap from those edges of the pictures that are marked for the most part."""
    reached = torch.zeros_like(marked)
    for axis, is_far in ((1, False), (1, True), (2, False), (2, True)):
        outside_or_marked = marked | ~inside
        run = (outside_or_marked.flip(axis) if is_far else outside_or_marked).int().cumprod(axis)
        run = (run.flip(axis) if is_far else run) * inside
        share = run.any(axis).sum(1) / inside.any(axis).sum(1)
        reached = reached | (run.bool() & (share > 0.5)[:, None, None])
    return reached


def _pool_max(images: Float[Tensor, "B T T"], height: int, width: int) -> Float[Tensor, "B T T"]:
    """Take the maximum over a window around each pixel."""
    pooled = F.max_pool2d(images[:, None], (height, 1), 1, (height // 2, 0))
    return F.max_pool2d(pooled, (1, width), 1, (0, width // 2))[:, 0]


def _pool_min(images: Float[Tensor, "B T T"], height: int, width: int) -> Float[Tensor, "B T T"]:
    """Take the minimum over a window around each pixel."""
    return -_pool_max(-images, height, width)
