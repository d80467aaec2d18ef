"""Scenes on disk: a folder of images and labels, as `synthesise` writes it or as anybody can.

    DIR/labels.jsonl     {"image": "images/7.png", "digits": [3, 1, 4]}          a line each; more keys may follow
    DIR/labels.csv       image,digits  and then  images/7.png,3 1 4              instead, if you like
    DIR/images/7.png     any format that Pillow reads, all of one size; dark on light is turned round

A folder with `train`, `val` or `test` folders of that kind has these splits; one without is the split that its
card.json names, and a training set keeps its last sixth for validation.

Shapes   P scenes on disk   B scenes   N longest sequence
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mnist_seq import tokens
from mnist_seq.config import Spec
from mnist_seq.data.pictures import ink
from mnist_seq.data.scenes import Scenes
from mnist_seq.errors import NotFoundError, UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
CARD = "card.json"
_VAL_SHARE = 6
"""One scene in so many of a folder without splits is for validation: the last ones."""


class Label(NamedTuple):
    """A line of the labels."""

    place: str
    """File and line, for errors."""
    image: Path
    digits: list[int]
    boxes: list[list[int]]
    """x0 y0 x1 y1 of each digit's ink, where they are known."""
    sources: list[int]
    """Index of each digit in its data set, where it is known."""


class FolderSet:
    """The scenes of one split on disk, held in memory once the first is asked for."""

    fixed = True

    def __init__(self, split: str, labels: list[Label], spec: Spec) -> None:
        self.split, self.labels, self.spec = split, labels, spec
        self.epoch = len(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice) -> Scenes:
        return self.render(places(index, len(self)))

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> Scenes:
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        at = ids.cpu()
        if len(at) and not 0 <= int(at.min()) <= int(at.max()) < len(self):
            raise IndexError(f"scene {int(at.max())} of {len(self)} in {self.labels[0].place.rpartition(':')[0]}")
        return Scenes(*(part[at] for part in self._all)).to(ids.device)

    def margins(self, ids: Tensor) -> None:
        """Nobody says by how much the order of these scenes is decided."""

    @cached_property
    def _all(self) -> Scenes:
        many, slots = len(self.labels), self.spec.max_digits
        digits = torch.full((many, slots), tokens.PAD)
        boxes, sources = torch.zeros(many, slots, 4, dtype=torch.int64), torch.full((many, slots), -1)
        for row, label in enumerate(self.labels):
            count = len(label.digits)
            digits[row, :count] = torch.tensor(label.digits, dtype=torch.int64)
            if label.boxes:
                boxes[row, :count] = torch.tensor(label.boxes)
            if label.sources:
                sources[row, :count] = torch.tensor(label.sources)
        return Scenes(
            images=torch.stack([self._image(label) for label in self.labels])[:, None],
            digits=digits,
            tokens=tokens.encode(digits),
            cells=digits.new_zeros(many, 0),
            counts=(digits < tokens.DIGITS).sum(1),
            boxes=boxes,
            sources=sources,
        )

    def _image(self, label: Label) -> Tensor:
        try:
            pixels = ink(label.image)
        except UserError as problem:
            raise UserError(f"{label.place}: {problem}") from problem
        size = (self.spec.height, self.spec.width)
        if pixels.shape != size:
            raise UserError(
                f"{label.place}: {label.image} is {pixels.shape[0]}x{pixels.shape[1]} pixels, but the first image "
                f"{size[0]}x{size[1]}: make all of one size"
            )
        return (pixels * 255).round().to(torch.uint8)


def load(path: str, whole: bool = False) -> dict[str, FolderSet]:
    """The splits that a folder holds.

    Args:
        whole: train on what is kept for validation, too.

    Raises:
        FileNotFoundError, ValueError: no such folder, or labels that cannot be read, by file and line.
    """
    labels = _labels(Path(path), whole)
    shape = _spec(labels, card(path))
    taught = {source for label in labels.get("train", []) for source in label.sources}
    shown = sum(not taught.isdisjoint(label.sources) for label in labels.get("val", []))
    if shown:
        log.warning(
            "%s: %d of %d val scenes show digits that training scenes show too: synthesise split=train and split=val "
            "into folders train and val of one folder instead",
            path,
            shown,
            len(labels["val"]),
        )
    return {split: FolderSet(split, rows, shape) for split, rows in labels.items()}


def spec(path: str) -> Spec:
    """The size of a folder's first image, and its longest sequence.

    Raises:
        FileNotFoundError, ValueError: as for `load`.
    """
    return _spec(_labels(Path(path), whole=True), card(path))


def card(path: str) -> dict[str, Any]:
    """What a folder that `synthesise` wrote says of itself; empty for any other."""
    for folder in (Path(path), *(Path(path) / split for split in SPLITS)):
        if (folder / CARD).is_file():
            try:
                found = json.loads((folder / CARD).read_text())
            except ValueError as problem:
                raise UserError(f"{folder / CARD} is no JSON: {problem}") from problem
            if not isinstance(found, dict) or not isinstance(found.get("data", {}), dict):
                raise UserError(f"{folder / CARD} is not what synthesise writes: remove it, or synthesise anew")
            return found
    return {}


def places(index: int | slice, length: int) -> Tensor:
    """The ids that an index into a sequence of this length means.

    Raises:
        IndexError: beyond the end.
    """
    if isinstance(index, slice):
        return torch.arange(*index.indices(length))
    if not -length <= index < length:
        raise IndexError(f"scene {index} of {length}")
    return torch.tensor([index % length])


def _labels(path: Path, whole: bool) -> dict[str, list[Label]]:
    """The labels of each split."""
    if not path.is_dir():
        raise NotFoundError(f"data.path={path} is no folder")
    inside = {split: list(_read(path / split)) for split in SPLITS if (path / split).is_dir()}
    if inside:
        if whole and "val" in inside:
            inside["train"] = inside.get("train", []) + inside.pop("val")
        return inside
    labels, split = list(_read(path)), card(str(path)).get("split", "train")
    kept = 0 if whole else len(labels) // _VAL_SHARE
    if split != "train" or not kept:
        return {split: labels}
    return {"train": labels[:-kept], "val": labels[-kept:]}


def _read(folder: Path) -> Iterator[Label]:
    jsonl, table = folder / "labels.jsonl", folder / "labels.csv"
    if not jsonl.is_file() and not table.is_file():
        raise NotFoundError(f"{folder} holds neither labels.jsonl nor labels.csv")
    path, rows = (jsonl, _json_rows(jsonl)) if jsonl.is_file() else (table, _csv_rows(table))
    line = 0
    for line, row in rows:
        yield _label(f"{path}:{line}", folder, row)
    if not line:
        raise UserError(f"{path} is empty: a line is {_EXAMPLE}")


_EXAMPLE = '{"image": "images/7.png", "digits": [3, 1, 4]}, or 7.png,3 1 4 in a labels.csv'


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(path.read_text().splitlines(), 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except json.JSONDecodeError as problem:
                raise UserError(f"{path}:{line}: no JSON ({problem.msg}): a line is {_EXAMPLE}") from problem


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:  # spreadsheets begin a file with a mark
        reader = csv.DictReader(lines)
        for row in reader:
            digits = (row.get("digits") or "").split()
            known = [int(digit) if digit.isdecimal() else digit for digit in digits]
            yield reader.line_num, {"image": row.get("image"), "digits": known}


def _label(place: str, folder: Path, row: Any) -> Label:
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise UserError(f"{place}: no image is named: a line is {_EXAMPLE}")
    digits, image = row.get("digits"), folder / row["image"]
    if not isinstance(digits, list) or any(type(digit) is not int or not 0 <= digit <= 9 for digit in digits):
        raise UserError(f"{place}: digits must be a list of 0..9, not {digits}")
    if not image.is_file():
        raise NotFoundError(f"{place}: {image} does not exist")
    known = {}
    for key in ("boxes", "sources"):
        known[key] = row.get(key) or []
        if not isinstance(known[key], list) or (known[key] and len(known[key]) != len(digits)):
            raise UserError(f"{place}: {key} must be a list with one for each of {len(digits)} digits")
    for box in known["boxes"]:
        if not isinstance(box, list) or len(box) != 4 or any(type(side) is not int for side in box):
            raise UserError(f"{place}: a box must be four whole pixels, x0 y0 x1 y1, not {box}")
    if any(type(source) is not int for source in known["sources"]):
        raise UserError(f"{place}: sources must be numbers of digits, not {known['sources']}")
    return Label(place, image, digits, known["boxes"], known["sources"])


def _spec(labels: dict[str, list[Label]], about: dict[str, Any]) -> Spec:
    rows = [label for split in labels.values() for label in split]
    ordered, digit_size = about.get("ordered", True), about.get("data", {}).get("digit_size", 28)
    try:
        height, width = ink(rows[0].image).shape
    except UserError as problem:
        raise UserError(f"{rows[0].place}: {problem}") from problem
    return Spec(height, width, max(1, *(len(label.digits) for label in rows)), (0, 0), ordered, digit_size)
