"""Scenes on disk: a directory of images and labels, written by `synthesise` or by hand.

    DIR/labels.jsonl     one line per image: {"image": "images/7.png", "digits": [3, 1, 4]}; `labels` has other forms
    DIR/images/7.png     any format that Pillow reads, of any size, light on dark or dark on light

A directory with subdirectories `train`, `val` or `test` of this form has these splits; `folder_splits` splits others.

Shapes   P images   N longest sequence   H W image
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import FolderConfig, Spec
from mnist_seq.config.migrations import migrate_card
from mnist_seq.data.digits import clip_boxes
from mnist_seq.data.folder_splits import SPLITS, describe_splits, read_split_labels
from mnist_seq.data.image_io import load_rgba, read_size
from mnist_seq.data.labels import Label
from mnist_seq.data.preprocess import Canvases, Preprocess, has_ink, preprocess_batches
from mnist_seq.data.render import SceneBatch
from mnist_seq.errors import UserError

log = logging.getLogger(__name__)

CARD_FILE = "card.json"
SOURCE = "folder"
"""Source of the digits on images that `synthesise` did not write."""
_LARGEST_CANVAS = 256
"""Longest side of images that are not cut, pixels."""
_LINE_CANVAS = (32, 256)
"""Height and width of the canvas for all other images, pixels: that of `data=line`."""
_CHUNK_PIXELS = 2**22
"""Pixels of the canvases that are held as floats at a time."""


def read_splits(config: FolderConfig) -> tuple[dict[str, list[Label]], Spec]:
    """Read and check the labels of every split, and warn if train and val share images or digits.

    Raises:
        UserError: labels that cannot be read, by file and line.
        NotFoundError: no such directory, or no labels in it.
    """
    path, card = config.path, read_card(config.path)
    splits = read_split_labels(config, card)
    log.info("%s", describe_splits(config, splits))
    spec = _infer_spec(splits, config, card)
    train = splits.get("train", [])
    if train and not any(label.digits for label in train):
        raise UserError(f"data.path={path}: none of its {len(train)} training images has a digit label: add labels")
    for split, others in (("val", ["train"]), ("test", ["train", "val"])):
        for other in others:
            _warn_of_leaks(path, split, splits.get(split, []), other, splits.get(other, []))
    return splits, spec


def _warn_of_leaks(path: str, split: str, labels: list[Label], other: str, other_labels: list[Label]) -> None:
    """Warn if scenes of a split are in another one too, or share digits with it."""
    images, sources = set(map(_file, other_labels)), {source for it in other_labels for source in it.sources}
    leaks = {
        f"images are also in {other}: label each image once": sum(_file(it) in images for it in labels),
        f"scenes share digit images with {other}: run synthesise with split={other} and split={split} into "
        f"subdirectories {other} and {split} instead": sum(not sources.isdisjoint(it.sources) for it in labels),
    }
    for leak, count in leaks.items():
        if count:
            log.warning("%s: %d of %d %s %s", path, count, len(labels), split, leak)


def _file(label: Label) -> str:
    """The path of the label's image, without steps up: train/../7.png is 7.png."""
    return os.path.normpath(label.image)


def read_spec(config: FolderConfig) -> Spec:
    """Read the shape of the problem: the canvas, the longest sequence, the cells.

    Raises:
        UserError, NotFoundError: as for `read_splits`.
    """
    card = read_card(config.path)
    return _infer_spec(read_split_labels(config, card), config, card)


def read_card(path: str) -> dict[str, Any]:
    """Read the card that `synthesise` wrote into a directory or its split directories; empty if there is none.

    Raises:
        UserError: the file was not written by `synthesise`.
    """
    for directory in (Path(path), *(Path(path) / split for split in SPLITS)):
        if (directory / CARD_FILE).is_file():
            return parse_card(directory / CARD_FILE)
    return {}


def parse_card(path: Path) -> dict[str, Any]:
    """Parse a card.json, and migrate it to the current schema.

    Raises:
        UserError: the file was not written by `synthesise`.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(card, dict) or not isinstance(card.get("data", {}), dict):
        raise UserError(f"{path} was not written by synthesise: remove it, or run synthesise again")
    return migrate_card(card, path)


def read_scenes(labels: list[Label], spec: Spec) -> SceneBatch:
    """Read all images, and return them with their labels as one batch of P scenes.

    What is written on an image is drawn on one canvas, all rows together. An image of the canvas' size is not cut.
    Boxes are zeros and sources -1 where the labels do not state them.

    Raises:
        UserError: an image that cannot be read.
    """
    digits = _pad((label.digits for label in labels), spec.max_length, vocabulary.PAD)
    images, windows = _read_canvases(labels, spec)
    return SceneBatch(
        images=images[:, None],
        digits=digits,
        tokens=vocabulary.encode(digits),
        cells=_pad(map(_cell_labels, labels), math.prod(spec.cells), vocabulary.EMPTY_CELL),
        counts=(digits < vocabulary.NUM_DIGITS).sum(1),
        boxes=_boxes_on_canvas(_pad((label.boxes for label in labels), spec.max_length, [0] * 4), windows, spec),
        sources=_pad((label.sources for label in labels), spec.max_length, -1),
    )


def _read_canvases(labels: list[Label], spec: Spec) -> tuple[UInt8[Tensor, "P H W"], Float[Tensor, "P 4"]]:
    """Return a canvas for each image, and the part of the image that it shows.

    Besides the result, at most _CHUNK_PIXELS pixels of canvases are held as floats. A warning names images with several
    rows, and those without ink.
    """
    chunk_size = max(1, _CHUNK_PIXELS // (spec.height * spec.width))
    images = torch.zeros(len(labels), spec.height, spec.width, dtype=torch.uint8)
    windows, has_several, is_blank = torch.zeros(len(labels), 4), [], []
    for start in range(0, len(labels), chunk_size):
        chunk = labels[start : start + chunk_size]
        canvases, several = _preprocess(chunk, spec)
        images[start : start + len(chunk)] = canvases.images.mul(255).round_()
        windows[start : start + len(chunk)] = canvases.windows
        has_several.append(several)
        is_blank.append(~has_ink(canvases.images) & torch.tensor([bool(label.digits) for label in chunk]))
    _warn(
        labels,
        torch.cat(has_several).nonzero()[:, 0],
        "have several rows but one label: all rows are drawn on one canvas, smaller than the Reader draws each; cut "
        "such images into rows",
    )
    no_ink = "have digits, but no ink is found on them: a blank canvas stands for each; check them"
    _warn(labels, torch.cat(is_blank).nonzero()[:, 0], no_ink)
    return images, windows


def _preprocess(labels: list[Label], spec: Spec) -> tuple[Canvases, Bool[Tensor, "P"]]:
    """Return one canvas for each image, and whether it has several rows, which are drawn together."""
    canvases = preprocess_batches(Preprocess(spec), map(_load_image, labels))
    num_rows = canvases.picture.bincount(minlength=len(labels))
    canvases = Canvases(*(values[num_rows.cumsum(0) - num_rows] for values in canvases))  # the first row of each
    several = (num_rows > 1).nonzero()[:, 0]
    joined = preprocess_batches(Preprocess(spec, join_rows=True), (_load_image(labels[it]) for it in several))
    for values, of_several in zip(canvases[:1] + canvases[2:], joined[:1] + joined[2:], strict=True):
        values[several] = of_several
    return canvases, num_rows > 1


def _warn(labels: list[Label], indices: Tensor, what: str) -> None:
    """Warn of some images, if there are any, and name the first three."""
    if not len(indices):
        return
    names = ", ".join(str(labels[index].image) for index in indices[:3].tolist())
    dots = ", ..." if len(indices) > 3 else ""
    log.warning("%d of %d images %s (%s%s)", len(indices), len(labels), what, names, dots)


def _boxes_on_canvas(boxes: Int[Tensor, "P N 4"], windows: Float[Tensor, "P 4"], spec: Spec) -> Int[Tensor, "P N 4"]:
    """Move boxes from pixels of the image to those of the canvas; unknown ones stay zeros."""
    corner, extent = windows[:, None, :2], windows[:, None, 2:] - windows[:, None, :2]
    scale = extent.new_tensor([spec.width, spec.height]) / extent
    moved = ((boxes - corner.repeat(1, 1, 2)) * scale.repeat(1, 1, 2)).round().long()
    return clip_boxes(moved, spec.height, spec.width) * boxes.any(-1, keepdim=True)


def _pad(rows: Iterable[list[Any]], length: int, value: Any) -> Int[Tensor, "P ..."]:
    """Convert lists to a tensor: each is padded with `value`, or cut, to `length`."""
    return torch.tensor([(row + [value] * length)[:length] for row in rows], dtype=torch.int64)


def _cell_labels(label: Label) -> list[int]:
    """Return what the cells of a scene hold, in raster order; its digit for an image that is one cell."""
    cells = [cell for row in label.cells for cell in row] if label.cells else label.digits
    return [vocabulary.EMPTY_CELL if cell is None else cell for cell in cells]


def _load_image(label: Label) -> UInt8[Tensor, "4 _ _"]:
    try:
        return load_rgba(label.image)
    except UserError as error:
        raise UserError(f"{label.location}: {error}") from error


def _read_size(label: Label) -> tuple[int, int]:
    try:
        return read_size(label.image)
    except UserError as error:
        raise UserError(f"{label.location}: {error}") from error


def _infer_spec(splits: dict[str, list[Label]], config: FolderConfig, card: dict[str, Any]) -> Spec:
    labels = [label for split in splits.values() for label in split]
    ordered, digit_size = card.get("ordered", True), card.get("data", {}).get("digit_size", config.digit_size)
    longest = max(labels, key=lambda label: len(label.digits))
    synthetic: Spec | None = config.synthetic and config.synthetic.spec
    max_length = config.max_length or max(1, len(longest.digits), synthetic.max_length if synthetic else 0)
    if len(longest.digits) > max_length:
        raise UserError(
            f"{longest.location}: {len(longest.digits)} digits, but at most data.max_length={max_length} fit"
        )
    _check_conflicting_labels(labels)
    if config.height and config.width:
        height, width = config.height, config.width
    else:
        height, width = (synthetic.height, synthetic.width) if synthetic else _canvas_size(labels)
    spec = Spec(height, width, max_length, _cell_grid_shape(labels, max_length), ordered, digit_size)
    if synthetic:
        _check_synthetic(synthetic, spec, config)
    return spec


def _check_synthetic(synthetic: Spec, spec: Spec, config: FolderConfig) -> None:
    """Raise UserError if synthetic scenes do not fit the shape of the folder's problem."""
    max_length = min(synthetic.max_length, spec.max_length)
    expected = replace(spec, max_length=max_length, cells=spec.cells if any(spec.cells) else synthetic.cells)
    if synthetic != expected:
        differing = next(key for key, value in vars(expected).items() if getattr(synthetic, key) != value)
        raise UserError(
            f"data.synthetic={config.synthetic.family} has {differing}={getattr(synthetic, differing)}, but "
            f"{config.path} has {getattr(expected, differing)}: set the keys of both alike"
        )


def _canvas_size(labels: list[Label]) -> tuple[int, int]:
    """Return the size of the images if all have the same and it is small, and else that of a line of digits."""
    size = _read_size(labels[0])
    if max(size) <= _LARGEST_CANVAS and all(_read_size(label) == size for label in labels[1:]):
        return size
    return _LINE_CANVAS


def _check_conflicting_labels(labels: list[Label]) -> None:
    first_labels: dict[str, Label] = {}
    for label in labels:
        first = first_labels.setdefault(_file(label), label)
        if first.digits != label.digits:
            raise UserError(
                f"{label.location}: digits {label.digits}, but {first.location} labels the same image {first.digits}"
            )


def _cell_grid_shape(labels: list[Label], max_length: int) -> tuple[int, int]:
    """Return the rows and columns of cells that the labels state; images of at most one digit are one cell."""
    shapes = [(len(label.cells), len(label.cells[0]) if label.cells else 0) for label in labels]
    for label, (rows, cols) in zip(labels, shapes, strict=True):
        if (rows, cols) != shapes[0]:
            first = f"{shapes[0][0]}x{shapes[0][1]} of {labels[0].location}"
            raise UserError(f"{label.location}: {rows}x{cols} cells, but the {first}: give all images the same")
    return (1, 1) if shapes[0] == (0, 0) and max_length == 1 else shapes[0]
