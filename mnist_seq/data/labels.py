"""Labels of images on disk: labels.jsonl or labels.csv, in UTF-8 with or without a byte order mark.

    {"image": "images/7.png", "digits": [3, 1, 4]}      a line of labels.jsonl; `label` is another name of `digits`
    image,digits                                        the header of labels.csv: two columns, in any order and case
    images/7.png,3 1 4                                  a line of it

Digits are written as `[3, 1, 4]` (JSON alone), `3 1 4`, `3,1,4` (in quotes in a table) or `314`, and keep their leading
zeros. No digits, `[]` or an empty cell, are a scene without any. JSON may add what is known of the picture:

    "boxes": [[x0, y0, x1, y1], ...]    of each digit's ink, pixels, half open
    "sources": [50123, ...]             each digit's index in its data set
    "cells": [[3, null], [1, 4]]        what each cell of a grid holds, row by row, for models that read by cells

Other keys of JSON are left to whoever wrote them. Whatever cannot be understood is refused by file and line.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mnist_seq.errors import NotFoundError, UserError

Cells = list[list[int | None]]
_EXAMPLE = '{"image": "images/7.png", "digits": [3, 1, 4]}'
_DIGIT_KEYS = ("digits", "label")
"""What the digits may be called."""
_DIGITS_PATTERN = re.compile(r"[0-9]*|[0-9](?:(?:\s*,\s*|\s+)[0-9])*", re.ASCII)


class Label(NamedTuple):
    """A line of the labels."""

    location: str
    """File and line, for errors."""
    image: Path
    digits: list[int]
    boxes: list[list[int]]
    """x0 y0 x1 y1 of each digit's ink, where they are known."""
    sources: list[int]
    """Index of each digit in its data set, where it is known."""
    cells: Cells
    """What each cell of a grid holds, row by row, where it is known."""


def read_labels(folder: Path) -> list[Label]:
    """The labels of a folder.

    Raises:
        NotFoundError: no labels, or an image that does not exist.
        UserError: what cannot be understood, by file and line.
    """
    jsonl, table = folder / "labels.jsonl", folder / "labels.csv"
    if jsonl.is_file() and table.is_file():
        raise UserError(f"{folder} holds both labels.jsonl and labels.csv: remove one")
    if not jsonl.is_file() and not table.is_file():
        raise NotFoundError(f"{folder} holds neither labels.jsonl nor labels.csv")
    path, rows = (jsonl, _jsonl_rows(jsonl)) if jsonl.is_file() else (table, _csv_rows(table))
    labels = [_parse_label(f"{path}:{line}", folder, row) for line, row in rows]
    if not labels:
        raise UserError(f"{path} is empty: a line is " + (_EXAMPLE if path == jsonl else "images/7.png,3 1 4"))
    return labels


def _read_text(path: Path) -> str:
    """What a file says, whatever the locale; spreadsheets begin it with a byte order mark."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise UserError(f"{path}:{line} is not UTF-8 (byte 0x{data[problem.start]:02x}): save it as UTF-8") from problem
    if "\0" in text:
        raise UserError(f"{path} holds null bytes, as UTF-16 does: save it as UTF-8")
    return text


def _jsonl_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(_read_text(path).split("\n"), 1):
        if text.strip():
            try:
                row = json.loads(text)
            except json.JSONDecodeError as problem:
                raise UserError(f"{path}:{line}: no JSON ({problem.msg}): a line is {_EXAMPLE}") from problem
            if not isinstance(row, dict):
                raise UserError(f"{path}:{line}: no image is named: a line is {_EXAMPLE}")
            yield line, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), skipinitialspace=True, strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if not any(row) and len(row) < 2:  # a blank line
                continue
            if not columns:
                columns = [name.lower() for name in row]
                if sorted(columns) not in [sorted(("image", name)) for name in _DIGIT_KEYS]:
                    raise UserError(
                        f"{path}:{reader.line_num}: the columns are {', '.join(row)}: begin with a line image,digits "
                        "and separate columns by commas"
                    )
                continue
            if len(row) != len(columns):
                raise UserError(
                    f"{path}:{reader.line_num}: {len(row)} cells for {len(columns)} columns, {','.join(columns)}: "
                    "write digits as 3 1 4, 314 or, in quotes, 3,1,4"
                )
            yield reader.line_num, dict(zip(columns, row, strict=True))
    except csv.Error as problem:
        raise UserError(f"{path}:{reader.line_num}: no line of a table: {problem}") from problem


def _parse_label(place: str, folder: Path, row: dict[str, Any]) -> Label:
    name = row.get("image")
    if not isinstance(name, str) or not name:
        raise UserError(f"{place}: no image is named: give image and digits")
    # A name is UTF-8 as the file is, even where the locale would have file names in another encoding.
    image, digits = folder / os.fsdecode(name.encode("utf-8", "surrogatepass")), _parse_digits(place, row)
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
    return Label(place, image, digits, known["boxes"], known["sources"], _parse_cells(place, row.get("cells"), digits))


def _parse_digits(place: str, row: dict[str, Any]) -> list[int]:
    """The digits as they are written."""
    names = [name for name in _DIGIT_KEYS if name in row]
    if len(names) != 1:
        raise UserError(f"{place}: {'both digits and label are' if names else 'no digits are'} given: give digits")
    found = row[names[0]]
    if isinstance(found, str) and _DIGITS_PATTERN.fullmatch(found.strip()):
        return [int(sign) for sign in found if sign in "0123456789"]
    if type(found) is int and 0 <= found <= 9:
        return [found]
    if isinstance(found, list) and all(type(digit) is int and 0 <= digit <= 9 for digit in found):
        return found
    raise UserError(f"{place}: {names[0]} must be a list of 0..9, or written as 3 1 4 or 314, not {found}")


def _parse_cells(place: str, cells: Any, digits: list[int]) -> Cells:
    """What the cells hold: each digit in a cell of its own."""
    if cells is None:
        return []
    rows = cells if isinstance(cells, list) and all(isinstance(row, list) for row in cells) else []
    held = [cell for row in rows for cell in row if cell is not None]
    whole = bool(rows) and bool(rows[0]) and all(len(row) == len(rows[0]) for row in rows)
    if not whole or any(type(cell) is not int for cell in held) or sorted(held) != sorted(digits):
        raise UserError(f"{place}: cells must be rows of one length that hold {digits} and null, not {cells}")
    return rows
