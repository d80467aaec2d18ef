"""Labels of images on disk: labels.jsonl or labels.csv, in UTF-8 with or without a byte order mark, or names.

    {"image": "images/7.png", "digits": [3, 1, 4]}      a line of labels.jsonl; `label` is another name for `digits`
    image,digits                                        the header of labels.csv, in any order and case
    images/7.png,3 1 4                                  a line of labels.csv
    314/any.png                                         without such a file: folders that are named after their digits
    314_any.png                                         without such folders: files whose names start with them

Digits are written as `[3, 1, 4]` (JSON only), `3 1 4`, `3,1,4` (in quotes in CSV) or `314`, and keep their leading
zeros. No digits, `[]`, an empty cell or the name `none`, mean a scene without any. `label_names` has more about names.
JSON may add what is known about the image:

    "boxes": [[x0, y0, x1, y1], ...]    box of each digit's ink, pixels, half open
    "sources": [50123, ...]             index of each digit in its source dataset
    "cells": [[3, null], [1, 4]]        what each cell of a grid holds, row by row, for models that read cells

Other keys and columns, such as `writer` or `split`, are kept: `folder_splits` splits by them. Anything malformed raises
an error that names the file and the line.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mnist_seq.data import label_names
from mnist_seq.errors import NotFoundError, UserError

Cells = list[list[int | None]]
_JSONL, _CSV, _FOLDER_NAMES, FILE_NAMES = "labels.jsonl", "labels.csv", "folder names", "file names"
_EXAMPLES = {"labels.jsonl": '{"image": "images/7.png", "digits": [3, 1, 4]}', "labels.csv": "images/7.png,3 1 4"}
_DIGIT_KEYS = ("digits", "label")
"""Accepted names for the digits."""
_PARSED_KEYS = ("image", *_DIGIT_KEYS, "boxes", "sources", "cells", "sha256")
_DIGITS_PATTERN = re.compile(r"[0-9]*|[0-9](?:(?:\s*,\s*|\s+)[0-9])*", re.ASCII)


class Label(NamedTuple):
    """The label of one image."""

    location: str
    """File and line, for error messages."""
    name: str
    """Path of the image as the labels state it."""
    image: Path
    digits: list[int]
    """In reading order."""
    boxes: list[list[int]]
    """x0 y0 x1 y1 of each digit's ink in pixels, half open; empty if unknown."""
    sources: list[int]
    """Index of each digit in its source dataset; empty if unknown."""
    cells: Cells
    """What each cell of a grid holds, row by row; empty if unknown."""
    columns: dict[str, Any]
    """Other keys of its row, such as writer."""


def label_source(directory: Path) -> str:
    """Find what holds the labels of a directory: a file, or else the names of folders, or else those of files.

    Raises:
        NotFoundError: nothing does.
        UserError: two files do.
    """
    if name := label_file(directory):
        return name
    if label_names.has_label_folders(directory):
        return _FOLDER_NAMES
    if label_names.has_images(directory):
        return FILE_NAMES
    raise NotFoundError(f"{directory} contains neither labels.jsonl nor labels.csv, nor images named by their digits")


def label_file(directory: Path) -> str | None:
    """Return the name of the file that holds the labels of a directory, if there is one.

    Raises:
        UserError: there are two.
    """
    files = [name for name in (_JSONL, _CSV) if (directory / name).is_file()]
    if len(files) == 2:
        raise UserError(f"{directory} contains both labels.jsonl and labels.csv: remove one")
    return files[0] if files else None


def read_labels(directory: Path) -> list[Label]:
    """Read the labels of a directory.

    Raises:
        NotFoundError: no labels, or an image that does not exist.
        UserError: a malformed file, by file and line, or a name without digits.
    """
    source = label_source(directory)
    labels = [_parse_label(location, directory, row) for location, row in _ROWS[source](directory)]
    if not labels:
        raise UserError(f"{directory / source} is empty: expected lines like {_EXAMPLES[source]}")
    return labels


def _read_text(path: Path) -> str:
    """Decode a file as UTF-8, whatever the locale; spreadsheets start it with a byte order mark."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line} is not UTF-8 (byte 0x{data[error.start]:02x}): save it as UTF-8") from error
    if "\0" in text:
        raise UserError(f"{path} contains null bytes, as UTF-16 does: save it as UTF-8")
    return text


def _jsonl_rows(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the location and the content of each row."""
    path = directory / _JSONL
    example = _EXAMPLES["labels.jsonl"]
    for line, text in enumerate(_read_text(path).split("\n"), 1):
        if text.strip():
            try:
                row = json.loads(text)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}:{line}: invalid JSON ({error.msg}): expected a line like {example}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}:{line}: no image key: expected a line like {example}")
            yield f"{path}:{line}", row


def _csv_rows(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the location and the content of each row."""
    path = directory / _CSV
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), skipinitialspace=True, strict=True)
    try:
        stripped = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: malformed CSV: {error}") from error
    rows = [(line, row) for line, row in stripped if any(row) or len(row) > 1]  # without blank lines
    if not rows:
        return
    (line, header), *rows = rows
    columns = [name.lower() for name in header]
    required = {name: columns.count(name) for name in ("image", *_DIGIT_KEYS)}
    if sorted(required.values()) != [0, 1, 1] or not required["image"] or len(set(columns)) < len(columns):
        raise UserError(
            f"{path}:{line}: the columns are {', '.join(header)}: start with the header image,digits, other columns "
            "after it if you like, and separate columns by commas"
        )
    for line, row in rows:
        if len(row) != len(columns):
            raise UserError(
                f"{path}:{line}: {len(row)} cells for {len(columns)} columns, {','.join(columns)}: write digits as "
                "3 1 4, 314 or, in quotes, 3,1,4"
            )
        yield f"{path}:{line}", dict(zip(columns, row, strict=True))


_ROWS: dict[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
    _JSONL: _jsonl_rows,
    _CSV: _csv_rows,
    _FOLDER_NAMES: label_names.label_folder_rows,
    FILE_NAMES: label_names.label_file_rows,
}
"""What holds labels -> the rows of a directory, each with its location."""


def _parse_label(location: str, directory: Path, row: dict[str, Any]) -> Label:
    name = row.get("image")
    if not isinstance(name, str) or not name:
        raise UserError(f"{location}: no image given: each row needs image and digits")
    for key in row:
        if key != key.lower() and key.lower() in (*_PARSED_KEYS, "split"):
            raise UserError(f"{location}: write the key {key} in lower case")
    image, digits = directory / _decode_name(name), _parse_digits(location, row)
    if not os.path.isfile(image):  # noqa: PTH113 - Path.is_file raises where a name is too long, or may not be seen
        raise NotFoundError(f"{location}: {textwrap.shorten(str(image), 200, placeholder=' ...')} does not exist")
    boxes, sources = row.get("boxes") or [], row.get("sources") or []
    for key, values in (("boxes", boxes), ("sources", sources)):
        if not isinstance(values, list) or len(values) not in (0, len(digits)):
            raise UserError(f"{location}: {key} must be a list with one entry for each of {len(digits)} digits")
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or any(type(edge) is not int for edge in box):
            raise UserError(f"{location}: a box must be four integers, x0 y0 x1 y1 in pixels, not {box}")
        if box[0] > box[2] or box[1] > box[3]:
            raise UserError(f"{location}: a box must be two corners, x0 y0 x1 y1 in pixels, not {box}")
    if any(type(source) is not int for source in sources):
        raise UserError(f"{location}: sources must be integer indices, not {sources}")
    columns = {key: value for key, value in row.items() if key not in _PARSED_KEYS}
    return Label(
        location, name, image, digits, boxes, sources, _parse_cells(location, row.get("cells"), digits), columns
    )


def _decode_name(name: str) -> str:
    """Return the name of a file: UTF-8 as its labels are, even if the locale encodes file names otherwise.

    The names of a directory may hold other bytes, as surrogates.
    """
    try:
        return os.fsdecode(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return name  # no file has this name


def _parse_digits(location: str, row: dict[str, Any]) -> list[int]:
    keys = [key for key in _DIGIT_KEYS if key in row]
    if len(keys) != 1:
        raise UserError(f"{location}: {'both digits and label' if keys else 'no digits'} given: give digits")
    value = row[keys[0]]
    if isinstance(value, str) and _DIGITS_PATTERN.fullmatch(value.strip()):
        return [int(char) for char in value if char in "0123456789"]
    if type(value) is int and 0 <= value <= 9:
        return [value]
    if isinstance(value, list) and all(type(digit) is int and 0 <= digit <= 9 for digit in value):
        return value
    raise UserError(
        f'{location}: {keys[0]} must be a list of 0..9, or text such as "3 1 4" or "314", not {json.dumps(value)}'
    )


def _parse_cells(location: str, cells: Any, digits: list[int]) -> Cells:
    """Check that cells form a grid and hold each digit once."""
    if cells is None:
        return []
    rows = cells if isinstance(cells, list) and all(isinstance(row, list) for row in cells) else []
    cell_digits = [cell for row in rows for cell in row if cell is not None]
    is_grid = bool(rows) and bool(rows[0]) and all(len(row) == len(rows[0]) for row in rows)
    if not is_grid or any(type(cell) is not int for cell in cell_digits) or sorted(cell_digits) != sorted(digits):
        raise UserError(f"{location}: cells must be rows of equal length that contain {digits} and null, not {cells}")
    return rows
