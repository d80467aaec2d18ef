"""From pictures of any size to the canvases that a model reads: one torch module, batched, and exportable to ONNX.

Written rows are found on a small copy of the picture, cut out of the picture itself, scaled and levelled. Nothing is
cleaned: paper, print and noise are left for the model, which was trained on them.

Shapes   B pictures   Y X padded size of the pictures   R rows of a picture   K canvases   h w canvas
         T U padded size of the small copies
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from mnist_seq.config import Spec
from mnist_seq.data.image_io import LUMA_WEIGHTS
from mnist_seq.data.levels import MIN_RANGE, PAPER, stretch_levels
from mnist_seq.data.row_detection import SMALL_SIDE, find_ink, find_rows, inside_of, is_dark_on_light

_PADDED_PIXELS, _MAX_PICTURES = 2**20, 16
"""Most pixels, padding included, and most pictures that are preprocessed together: so that caches hold them."""
_MIN_SMALL_SIDE = 32
"""Least padded side of a small copy, pixels: it has room for all rows that can be found."""
_MARGIN = 0.18
"""Margin around a row, as a fraction of its height."""
_DIGIT_HEIGHT = 20 / 28
"""Height of a digit, as a fraction of its frame, as in MNIST."""


class Canvases(NamedTuple):
    """What was found in pictures: at least one canvas for each, in the order of the pictures and from top to bottom."""

    images: Float[Tensor, "K h w"]
    """In [0, 1], ink on a background of 0; all 0 if the picture has no ink."""
    picture: Int[Tensor, "K"]
    """Index of the picture that each canvas shows a part of."""
    windows: Float[Tensor, "K 4"]
    """That part, x0 y0 x1 y1 in pixels of the picture; it may extend beyond the picture."""
    num_shapes: Int[Tensor, "K"]
    """Separate shapes of a digit's height on it: a model that reads fewer digits cannot be right. 0 for pictures of a
    canvas for several digits, since they may be scenes with distractors."""
    num_omitted: Int[Tensor, "K"]
    """Rows of the picture that no canvas shows, since it has more than `MAX_ROWS`."""


def reads_rows(spec: Spec) -> bool:
    """Return whether a model of this shape reads a single row of digits, and so each row of a picture on its own."""
    return spec.height < 2 * spec.digit_size and spec.width > 2 * spec.height


class Preprocess(nn.Module):
    """Find what is written, and draw it on canvases: each row on its own if the model reads rows, else all on one.

    A picture of the canvas' size is not cut, and not changed if its background is black.

    Args:
        spec: of the model.
        join_rows: draw all rows of a picture on one canvas even if the model reads rows.
    """

    def __init__(self, spec: Spec, join_rows: bool = False) -> None:
        super().__init__()
        self.join_rows = join_rows or not reads_rows(spec)
        self.canvas_size, self.reads_rows = (spec.height, spec.width), reads_rows(spec)
        self.reads_several = spec.max_length > 1
        self.max_height = spec.height if self.reads_rows else _DIGIT_HEIGHT * spec.digit_size

    def forward(self, pictures: UInt8[Tensor, "B 4 Y X"], sizes: Int[Tensor, "B 2"]) -> Canvases:
        """Cut out what is written.

        Args:
            pictures: RGBA, each in the upper left corner of a plane that is 0 elsewhere.
            sizes: height and width of each picture, pixels, at most Y and X.
        """
        is_canvas = (sizes[:, 0] == self.canvas_size[0]) & (sizes[:, 1] == self.canvas_size[1])
        grey = composite(pictures, sizes)
        small, small_sizes, scale = shrink(grey, sizes)
        inverted = is_dark_on_light(small, small_sizes)
        rows = find_rows(find_ink(torch.where(inverted[:, None, None], 1 - small, small), small_sizes))
        if self.join_rows:
            rows = rows.merged()
        first = torch.arange(rows.present.shape[1], device=sizes.device) == 0
        picture, row = ((rows.present & ~is_canvas[:, None]) | first).nonzero().unbind(1)
        is_canvas, scale = is_canvas[picture], scale[picture]
        boxes, heights = rows.boxes[picture, row] / scale[:, None], rows.heights[picture, row] / scale
        whole = torch.cat([torch.zeros_like(sizes), sizes.flip(1)], 1)[picture]
        windows = torch.where(is_canvas[:, None], whole, self._windows(boxes, heights))
        images, levelled = cut(grey, inverted, sizes, picture, windows, self.canvas_size)
        unchanged = is_canvas & ((images == 0).float().mean((1, 2)) > PAPER)
        images = torch.where(unchanged[:, None, None], images, levelled)
        found = rows.present.any(1)[picture] | is_canvas
        counted = found & ~(unchanged & self.reads_several)
        images, num_shapes = images * found[:, None, None], rows.num_shapes[picture, row] * counted
        return Canvases(images, picture, windows, num_shapes, rows.num_omitted[picture] * ~is_canvas)

    def _windows(self, boxes: Float[Tensor, "K 4"], heights: Float[Tensor, "K"]) -> Float[Tensor, "K 4"]:
        """Grow boxes by a margin, and to the shape of the canvas, on which digits get at most their trained height."""
        height, width = self.canvas_size
        extent = boxes[:, 2:] - boxes[:, :2]
        margin = _MARGIN if self.reads_rows else (1 / _DIGIT_HEIGHT - 1) / 2
        needed = extent + 2 * margin * heights[:, None]
        scale = torch.minimum(width / needed[:, :1], height / needed[:, 1:]).minimum(self.max_height / heights[:, None])
        canvas = torch.tensor([width, height], device=boxes.device) / scale
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        return torch.cat([centre - canvas / 2, centre + canvas / 2], -1)


def preprocess_batches(preprocess: Preprocess, pictures: Iterable[UInt8[Tensor, "4 _ _"]]) -> Canvases:
    """Preprocess any number of pictures; no more are held than are preprocessed together."""
    none = torch.zeros(0).long()
    parts, sizes = [Canvases(torch.zeros(0, *preprocess.canvas_size), none, torch.zeros(0, 4), none, none)], [0]
    for batch in batch_pictures(pictures):
        parts.append(preprocess(*pad_pictures(batch)))
        sizes.append(len(batch))
        del batch  # before the next pictures are loaded
    return concatenate(parts, sizes)


def batch_pictures(pictures: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group pictures, 4 H W each, into batches of at most `_MAX_PICTURES` and `_PADDED_PIXELS`."""
    batch: list[Tensor] = []
    for picture in pictures:
        height, width = (max(it.shape[axis] for it in (*batch, picture)) for axis in (1, 2))
        if batch and (len(batch) == _MAX_PICTURES or (len(batch) + 1) * height * width > _PADDED_PIXELS):
            yield batch
            batch = []
        batch.append(picture)
    if batch:
        yield batch


def has_ink(images: Float[Tensor, "K h w"]) -> Bool[Tensor, "K"]:
    """Return which canvases show more than an even background; a model need not read the others."""
    return images.amax((1, 2)) - images.amin((1, 2)) >= MIN_RANGE


def pad_pictures(pictures: Sequence[UInt8[Tensor, "4 _ _"]]) -> tuple[UInt8[Tensor, "B 4 Y X"], Int[Tensor, "B 2"]]:
    """Pad pictures on the right and below to one size; return them with their own sizes, the input of `Preprocess`."""
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    height, width = sizes.amax(0).tolist()
    return torch.stack([F.pad(it, (0, width - it.shape[2], 0, height - it.shape[1])) for it in pictures]), sizes


def concatenate(parts: Sequence[Canvases], num_pictures: Sequence[int]) -> Canvases:
    """Concatenate the canvases of batches of pictures, given how many pictures each batch has."""
    starts = accumulate(num_pictures, initial=0)
    moved = [part._replace(picture=part.picture + start) for part, start in zip(parts, starts, strict=False)]
    return Canvases(*(torch.cat(values) for values in zip(*moved, strict=True)))


def composite(pictures: UInt8[Tensor, "B 4 Y X"], sizes: Int[Tensor, "B 2"]) -> Float[Tensor, "B Y X"]:
    """Convert to grey in [0, 1]; what is transparent shows paper.

    Paper is the mean of what is opaque where that is most of the picture, and else the opposite of the strokes on it.
    """
    red, green, blue, alpha = pictures.unbind(1)
    grey = LUMA_WEIGHTS[0] / 255 * red
    grey = grey.add_(green, alpha=LUMA_WEIGHTS[1] / 255).add_(blue, alpha=LUMA_WEIGHTS[2] / 255)
    alpha = alpha / 255
    opaque = alpha.sum((1, 2)).clamp(min=1)
    opaque_grey = grey.mul_(alpha)
    level = opaque_grey.sum((1, 2)) / opaque
    paper = torch.where(2 * opaque > sizes[:, 0] * sizes[:, 1], level, (level < 0.5).float())[:, None, None]
    return opaque_grey.add_(paper).addcmul_(paper, alpha, value=-1)


def shrink(
    grey: Float[Tensor, "B Y X"], sizes: Int[Tensor, "B 2"]
) -> tuple[Float[Tensor, "B T U"], Int[Tensor, "B 2"], Float[Tensor, "B"]]:
    """Shrink pictures to at most `SMALL_SIDE` pixels on the longer side, by averaging.

    Returns:
        The small pictures, of even padded sides, their sizes, and small pixels per pixel of the picture.
    """
    scale = (SMALL_SIDE / sizes.amax(1)).clamp(max=1)
    small_sizes = (sizes * scale[:, None]).ceil().long()
    halves = ((small_sizes.amax(0).clamp(min=_MIN_SMALL_SIDE) + 1) // 2).tolist()
    for half in halves:  # torch.export does not know these bounds
        torch._check(half >= _MIN_SMALL_SIDE // 2)
        torch._check(half <= SMALL_SIDE // 2)
    padded = [2 * half for half in halves]
    positions = [(torch.arange(length, device=grey.device) + 0.5) / scale[:, None] for length in padded]
    small = resample(grey, positions, (1 / scale).expand(2, -1), sizes) * inside_of(small_sizes, *padded)
    return small, small_sizes, scale


def cut(
    grey: Float[Tensor, "B Y X"],
    inverted: Bool[Tensor, "B"],
    sizes: Int[Tensor, "B 2"],
    picture: Int[Tensor, "K"],
    windows: Float[Tensor, "K 4"],
    canvas_size: tuple[int, int],
) -> tuple[Float[Tensor, "K h w"], Float[Tensor, "K h w"]]:
    """Resample windows of pictures, some of which are inverted, to the canvas; outside the picture it is 0.

    Returns:
        The canvases as they are in the picture, and levelled.
    """
    (height, width), size = canvas_size, sizes[picture]
    step = (windows[:, 2:] - windows[:, :2]) / windows.new_tensor([width, height])
    x = windows[:, :1] + (torch.arange(width, device=grey.device) + 0.5) * step[:, :1]
    y = windows[:, 1:2] + (torch.arange(height, device=grey.device) + 0.5) * step[:, 1:]
    inside = ((y >= 0) & (y < size[:, :1]))[:, :, None] & ((x >= 0) & (x < size[:, 1:]))[:, None]
    images = resample(grey[picture], (y, x), step.flip(1).mT, size)
    images = torch.where(inverted[picture, None, None], 1 - images, images) * inside
    return images, stretch_levels(images, inside)


def resample(
    images: Float[Tensor, "N Y X"],
    positions: Sequence[Float[Tensor, "N _"]],
    steps: Float[Tensor, "2 N"],
    sizes: Int[Tensor, "N 2"],
) -> Float[Tensor, "N _ _"]:
    """Resample images at rows x columns, with triangles two steps wide, at least 2 pixels.

    Args:
        positions: of the rows and of the columns, pixels from the edge.
        steps: distance of the rows and of the columns, pixels.
        sizes: height and width of the images without padding; pixels beyond them get no weight.
    """
    weights = []
    for axis, (position, step) in enumerate(zip(positions, steps, strict=True)):
        index, radius = torch.arange(images.shape[axis + 1], device=images.device), step.clamp(min=1)[:, None]
        centres = torch.where(index < sizes[:, axis, None], index + 0.5, -1e9) / radius
        weights.append((1 - ((position / radius)[..., None] - centres[:, None]).abs()).clamp(min=0))
    rows, cols = weights
    total = rows.sum(2)[:, :, None] * cols.sum(2)[:, None]
    return rows @ images @ cols.mT / total.clamp(min=1e-9)
