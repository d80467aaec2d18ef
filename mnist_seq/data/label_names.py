"""Labels in the names of images: `DIR/123/any.png`, or `DIR/123_any.png`.

A folder or file name gives the digits as `123`, with its leading zeros, or `none` for an image without digits. In a
file name, they come before the first `_` or `-`; a name that is all digits, such as `123.png`, has the label 123.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mnist_seq.errors import UserError

_NO_DIGITS = "none"
_FOLDER_NAME = re.compile(rf"[0-9]+|{_NO_DIGITS}", re.ASCII)
_FILE_NAME = re.compile(rf"([0-9]+|{_NO_DIGITS})(?:[_-].*)?", re.ASCII | re.DOTALL)
_DATE = re.compile(
    r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])[_-]\d{6}|(19|20)\d\d[-_.]\d\d[-_.]\d\d(?!\d)", re.ASCII
)
"""How cameras and phones name photographs: 20240131_123456, 2024-01-31 12.34.56."""
_UNREADABLE = {".heic", ".heif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
"""Suffixes of photographs that Pillow does not read without a plugin."""
_MIN_COUNTED = 11
"""Fewer numbers before _ or - may be labels: one image of each digit."""
_DENSE = 1.25
"""Numbers of images, where a few were deleted, cover at most this many times as large a range."""
_WAY_OUT = "or write their labels into labels.csv"


def has_label_folders(directory: Path) -> bool:
    """Return whether a directory has folders of images that are named by digits."""
    return any(_FOLDER_NAME.fullmatch(folder.name) for folder in _image_folders(directory))


def label_folder_rows(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the label of each image in folders that are named by digits.

    Raises:
        UserError: there are other images, in the directory or in its other folders.
    """
    _check_unreadable(directory)
    folders = _image_folders(directory)
    others = [folder for folder in folders if not _FOLDER_NAME.fullmatch(folder.name)]
    if others:
        raise UserError(
            f"{others[0]} contains images, but its name is not a number: name it after its digits, {_WAY_OUT}"
        )
    if loose := _images(directory):
        raise UserError(
            f"{len(loose)} images, such as {loose[0]}, are not in a folder, unlike others: move them, {_WAY_OUT}"
        )
    if inner := [folder for outer in _folders(directory) for folder in _image_folders(outer)]:
        raise UserError(f"{inner[0]} contains images: move them to {inner[0].parent}, {_WAY_OUT}")
    for folder in folders:
        for image in _images(folder):
            yield str(image), _row(image, directory, folder.name)


def label_file_rows(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the label of each image whose name starts with its digits.

    Raises:
        UserError: a name without digits, names that merely count or date the images, or images in folders.
    """
    _check_unreadable(directory)
    images = _images(directory)
    if inner := _image_folders(directory):
        raise UserError(f"{inner[0]} contains images, but {images[0]} lies beside it: move them together, {_WAY_OUT}")
    matches = [_FILE_NAME.fullmatch(image.stem) for image in images]
    unnamed = [image for image, match in zip(images, matches, strict=True) if match is None]
    if unnamed:
        raise UserError(
            f"{len(unnamed)} of {len(images)} images, such as {unnamed[0]}, have no label in their names: "
            f"name them like 123_{unnamed[0].name}, {_WAY_OUT}"
        )
    check_names(directory, images)
    for image, match in zip(images, matches, strict=True):
        yield str(image), _row(image, directory, match[1] if match else "")


def check_names(directory: Path, images: Sequence[Path]) -> None:
    """Raise UserError if the digits with which the names of images start merely count or date them.

    Args:
        directory: of the images, for the message.
        images: all images that may have been counted together.
    """
    names = [match[1] for image in images if (match := _FILE_NAME.fullmatch(image.stem))]
    are_plain = all(image.stem == name for image, name in zip(images, names, strict=True))
    dated = [image for image in images if _DATE.match(image.stem)]
    if dated or _are_counted(names, 3 if are_plain else _MIN_COUNTED):
        how, example = ("dates", dated[0]) if dated else ("sequence numbers", images[0])
        raise UserError(
            f"{directory}: names such as {example.name} look like {how}, not labels: name images like "
            f"123_{example.name}, {_WAY_OUT}"
        )


def has_images(directory: Path) -> bool:
    """Return whether a directory has images of its own."""
    return bool(_images(directory))


def _row(image: Path, directory: Path, name: str) -> dict[str, Any]:
    return {"image": str(image.relative_to(directory)), "digits": "" if name == _NO_DIGITS else name}


def _are_counted(names: list[str], least: int) -> bool:
    """Return whether at least so many numbers are all different and nearly consecutive: they tell images apart."""
    numbers = {int(name) for name in names if name != _NO_DIGITS}
    if not len(numbers) == len(names) >= least:
        return False
    return max(numbers) - min(numbers) < _DENSE * len(numbers)


def _images(directory: Path) -> list[Path]:
    """Return the files of a directory whose names end like those of images, sorted; hidden files do not count."""
    Image.init()
    return sorted(
        path
        for path in directory.iterdir()
        if path.suffix.lower() in Image.EXTENSION and not path.name.startswith(".") and path.is_file()
    )


def _check_unreadable(directory: Path) -> None:
    """Raise UserError for photographs that would be left out because of their format."""
    Image.init()
    suffixes = _UNREADABLE - Image.EXTENSION.keys()
    unreadable = sorted(path for path in directory.rglob("*") if path.suffix.lower() in suffixes)
    if unreadable:
        raise UserError(f"{len(unreadable)} images, such as {unreadable[0]}, cannot be read: save them as JPEG or PNG")


def _image_folders(directory: Path) -> list[Path]:
    """Return the folders with images in a directory, sorted; hidden ones do not count."""
    return [folder for folder in _folders(directory) if _images(folder)]


def _folders(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
