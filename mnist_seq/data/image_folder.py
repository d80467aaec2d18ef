"""Scenes on disk: a folder of images and labels, as `synthesise` writes it or as anybody can.

    DIR/labels.jsonl     {"image": "images/7.png", "digits": [3, 1, 4]}          a line each; more: see labels.py
    DIR/labels.csv       image,digits  and then  images/7.png,3 1 4              instead, if you like
    DIR/images/7.png     any format that Pillow reads, all of one size; dark on light is turned round

A folder with `train`, `val` or `test` folders of that kind has these splits; one without is the split that its
card.json names, and a training set keeps its last sixth for validation.

Shapes   P scenes on disk   B scenes   N longest sequence   C cells
"""

from __future__ import annotations

import json
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import Spec
from mnist_seq.config.migrations import migrate_card
from mnist_seq.data import labels as written
from mnist_seq.data.image_io import load_image
from mnist_seq.data.labels import Label
from mnist_seq.data.render import SceneBatch
from mnist_seq.errors import NotFoundError, UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
CARD_FILE = "card.json"
_VAL_DIVISOR = 6
"""One scene in so many of a folder without splits is for validation: the last ones."""


class FolderDataset:
    """The scenes of one split on disk, held in memory once the first is asked for."""

    fixed = True

    def __init__(self, split: str, labels: list[Label], spec: Spec) -> None:
        self.split, self.labels, self.spec = split, labels, spec
        self.scenes_per_epoch = len(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> SceneBatch:
        return self.render(resolve_indices(index, len(self)))

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> SceneBatch:
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        at = ids.cpu()
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < len(self):
            raise IndexError(f"scene {int(at.max())} of {len(self)} in {self.labels[0].location.rpartition(':')[0]}")
        return SceneBatch(*(part[at] for part in self._batch)).to(ids.device)

    def order_margins(self, ids: Tensor) -> None:
        """Nobody says by how much the order of these scenes is decided."""

    @cached_property
    def _batch(self) -> SceneBatch:
        many, slots = len(self.labels), self.spec.max_length
        digits = torch.full((many, slots), vocabulary.PAD)
        boxes, sources = torch.zeros(many, slots, 4, dtype=torch.int64), torch.full((many, slots), -1)
        for row, label in enumerate(self.labels):
            count = len(label.digits)
            digits[row, :count] = torch.tensor(label.digits, dtype=torch.int64)
            if label.boxes:
                boxes[row, :count] = torch.tensor(label.boxes)
            if label.sources:
                sources[row, :count] = torch.tensor(label.sources)
        return SceneBatch(
            images=torch.stack([self._image(label) for label in self.labels])[:, None],
            digits=digits,
            tokens=vocabulary.encode(digits),
            cells=self._cells(),
            counts=(digits < vocabulary.NUM_DIGITS).sum(1),
            boxes=boxes,
            sources=sources,
        )

    def _cells(self) -> Tensor:
        """What each cell holds; P C."""
        rows, cols = self.spec.cells
        cells = torch.full((len(self.labels), rows * cols), vocabulary.EMPTY_CELL)
        for place, label in enumerate(self.labels):
            for cell, digit in enumerate(_flatten_cells(label) if rows else []):
                if digit is not None:
                    cells[place, cell] = digit
        return cells

    def _image(self, label: Label) -> Tensor:
        try:
            pixels = load_image(label.image)
        except UserError as problem:
            raise UserError(f"{label.location}: {problem}") from problem
        size = (self.spec.height, self.spec.width)
        if pixels.shape != size:
            raise UserError(
                f"{label.location}: {label.image} is {pixels.shape[0]}x{pixels.shape[1]} pixels, but the first image "
                f"{size[0]}x{size[1]}: make all of one size"
            )
        return (pixels * 255).round().to(torch.uint8)


def load(path: str, train_on_val: bool = False) -> dict[str, FolderDataset]:
    """The splits that a folder holds.

    Args:
        whole: train on what is kept for validation, too.

    Raises:
        FileNotFoundError, ValueError: no such folder, or labels that cannot be read, by file and line.
    """
    labels = _read_labels(Path(path), train_on_val)
    shape = _infer_spec(labels, read_card(path))
    train = labels.get("train", [])
    if train and not any(label.digits for label in train):
        raise UserError(f"data.path={path}: none of its {len(train)} training pictures has a digit: label them")
    taught, pictures = {source for label in train for source in label.sources}, {label.image for label in train}
    val = labels.get("val", [])
    twice = sum(label.image in pictures for label in val)
    if twice:
        log.warning("%s: %d of %d val pictures are training pictures too: label each once", path, twice, len(val))
    shown = sum(not taught.isdisjoint(label.sources) for label in val)
    if shown:
        log.warning(
            "%s: %d of %d val scenes show digits that training scenes show too: synthesise split=train and split=val "
            "into folders train and val of one folder instead",
            path,
            shown,
            len(val),
        )
    return {split: FolderDataset(split, rows, shape) for split, rows in labels.items()}


def spec(path: str) -> Spec:
    """The size of a folder's first image, and its longest sequence.

    Raises:
        FileNotFoundError, ValueError: as for `load`.
    """
    return _infer_spec(_read_labels(Path(path), train_on_val=True), read_card(path))


def read_card(path: str) -> dict[str, Any]:
    """What a folder that `synthesise` wrote says of itself; empty for any other."""
    for folder in (Path(path), *(Path(path) / split for split in SPLITS)):
        if (folder / CARD_FILE).is_file():
            try:
                found = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            except ValueError as problem:
                raise UserError(f"{folder / CARD_FILE} is no JSON: {problem}") from problem
            if not isinstance(found, dict) or not isinstance(found.get("data", {}), dict):
                raise UserError(f"{folder / CARD_FILE} is not what synthesise writes: remove it, or synthesise anew")
            return migrate_card(found, folder / CARD_FILE)
    return {}


def resolve_indices(index: int | slice, length: int) -> Tensor:
    """The ids that an index into a sequence of this length means.

    Raises:
        IndexError: beyond the end.
    """
    if isinstance(index, slice):
        return torch.arange(*index.indices(length))
    if not -length <= index < length:
        raise IndexError(f"scene {index} of {length}")
    return torch.tensor([index % length])


def _read_labels(path: Path, train_on_val: bool) -> dict[str, list[Label]]:
    """The labels of each split."""
    if not path.is_dir():
        raise NotFoundError(f"data.path={path} is no folder")
    inside = {split: written.read_labels(path / split) for split in SPLITS if (path / split).is_dir()}
    if inside:
        if train_on_val and "val" in inside:
            inside["train"] = inside.get("train", []) + inside.pop("val")
        return inside
    labels, split = written.read_labels(path), read_card(str(path)).get("split", "train")
    kept = 0 if train_on_val else len(labels) // _VAL_DIVISOR
    if split != "train" or not kept:
        return {split: labels}
    return {"train": labels[:-kept], "val": labels[-kept:]}


def _infer_spec(labels: dict[str, list[Label]], about: dict[str, Any]) -> Spec:
    rows = [label for split in labels.values() for label in split]
    ordered, digit_size = about.get("ordered", True), about.get("data", {}).get("digit_size", 28)
    longest = max(1, *(len(label.digits) for label in rows))
    _check_conflicting_labels(rows)
    try:
        height, width = load_image(rows[0].image).shape
    except UserError as problem:
        raise UserError(f"{rows[0].location}: {problem}") from problem
    return Spec(height, width, longest, _cell_grid_shape(rows, longest), ordered, digit_size)


def _check_conflicting_labels(labels: list[Label]) -> None:
    first: dict[Path, Label] = {}
    for label in labels:
        known = first.setdefault(label.image, label)
        if known.digits != label.digits:
            raise UserError(
                f"{label.location}: digits {label.digits}, but {known.location} gives the same image {known.digits}"
            )


def _cell_grid_shape(labels: list[Label], longest: int) -> tuple[int, int]:
    """Rows and columns of cells that hold a digit each, as the labels say; pictures of single digits are one cell."""
    shapes = [(len(label.cells), len(label.cells[0]) if label.cells else 0) for label in labels]
    for label, (rows, cols) in zip(labels, shapes, strict=True):
        if (rows, cols) != shapes[0]:
            first = f"{shapes[0][0]}x{shapes[0][1]} of {labels[0].location}"
            raise UserError(f"{label.location}: {rows}x{cols} cells, but the {first}: give all pictures the same")
    return (1, 1) if shapes[0] == (0, 0) and longest == 1 else shapes[0]


def _flatten_cells(label: Label) -> list[int | None]:
    """What the cells of a scene hold, in raster order."""
    return [cell for row in label.cells for cell in row] if label.cells else [*label.digits]
