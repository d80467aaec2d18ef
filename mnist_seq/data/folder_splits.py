"""Splits of labelled images: as the labels or directories say, or at random by whole groups, such as writers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from zlib import crc32

import torch

from mnist_seq.config import FolderConfig
from mnist_seq.data import rng
from mnist_seq.data.label_names import check_names, has_images, has_label_folders
from mnist_seq.data.labels import FILE_NAMES, Label, label_file, label_source, read_labels
from mnist_seq.errors import NotFoundError, UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SPLIT_COLUMN = "split"


def read_split_labels(config: FolderConfig, card: dict[str, Any]) -> dict[str, list[Label]]:
    """Read the labels of each split; splits without images are left out.

    Args:
        card: of the directory, if `synthesise` wrote it.

    Raises:
        UserError: labels that cannot be read or split.
        NotFoundError: no such directory, or no labels in it.
    """
    directory = Path(config.path)
    if not directory.is_dir():
        raise NotFoundError(f"data.path={directory} is not a directory")
    parts = _split_directories(directory)
    if label_file(directory) or not parts:
        labels = read_labels(directory)
        _check_beside(directory, parts, labels)
        splits = _split(labels, config, card)
    else:
        if has_images(directory) or has_label_folders(directory):
            names = ", ".join(part.name for part in parts)
            raise UserError(f"{directory} has images outside of its directories {names}: move them into one of these")
        splits = {
            part.name: [label._replace(name=f"{part.name}/{label.name}") for label in read_labels(part)]
            for part in parts
        }
        _check_no_effect(config, f"{directory} has directories {', '.join(splits)}")
        if all(label_source(part) == FILE_NAMES for part in parts):
            check_names(directory, [label.image for labels in splits.values() for label in labels])
    if config.val_fraction == 1:
        splits = {"val": [label for labels in splits.values() for label in labels]}
    if config.pool == "full" and "val" in splits:
        splits["train"] = splits.get("train", []) + splits.pop("val")
    return {split: labels for split, labels in splits.items() if labels}


def describe_splits(config: FolderConfig, splits: dict[str, list[Label]]) -> str:
    """Describe in one line where the labels come from, and how many images each split has."""
    directory = Path(config.path)
    parts = [directory] if label_file(directory) else _split_directories(directory) or [directory]
    sources = ", ".join(dict.fromkeys(label_source(part) for part in parts))
    empty = sum(not label.digits for labels in splits.values() for label in labels)
    counts = ", ".join(f"{len(it):,} {split}" for split, it in splits.items())
    return f"{directory}: labels from {sources}; {counts}" + f"; {empty:,} of them without digits" * bool(empty)


def _split_directories(directory: Path) -> list[Path]:
    return [directory / split for split in SPLITS if (directory / split).is_dir()]


def _check_beside(directory: Path, parts: list[Path], labels: list[Label]) -> None:
    """Raise UserError if a directory with a file of labels has split directories, and the labels state no splits."""
    if parts and (SPLIT_COLUMN not in labels[0].columns or any(label_file(part) for part in parts)):
        name = label_file(directory)
        raise UserError(
            f"{directory} has {name} and directories {', '.join(part.name for part in parts)}: put the labels of each "
            f"directory into it, or write a column split into {name}"
        )


def _check_no_effect(config: FolderConfig, why: str) -> None:
    """Raise UserError for keys of a random split where there is none."""
    for key in ("split_by", "fold", "val_fraction"):
        value = getattr(config, key)
        if value != getattr(FolderConfig, key) and (key, value) != ("val_fraction", 1):
            raise UserError(f"data.{key}={value} has no effect, since {why}: leave it out")


def _split(labels: list[Label], config: FolderConfig, card: dict[str, Any]) -> dict[str, list[Label]]:
    if "split" in card and card["split"] != "train":
        _check_no_effect(config, f"the card of these images says split={card['split']}")
        return {card["split"]: labels}
    if any(SPLIT_COLUMN in label.columns for label in labels):
        return _split_as_labelled(labels, config)
    if config.pool == "full":
        _check_no_effect(config, "data.pool=full trains on all images")
        return {"train": labels}
    if config.split_seed is None:
        num_val = _end_of_fold(len(labels), float(config.val_fraction))
        return {"train": labels[: len(labels) - num_val], "val": labels[len(labels) - num_val :]}
    return _split_at_random(labels, config, config.split_seed)


def _split_as_labelled(labels: list[Label], config: FolderConfig) -> dict[str, list[Label]]:
    _check_no_effect(config, "the labels have a column split")
    splits: dict[str, list[Label]] = {split: [] for split in SPLITS}
    for label in labels:
        split = label.columns.get(SPLIT_COLUMN)
        if split not in SPLITS:
            raise UserError(f"{label.location}: split={split} must be train, val or test, as other labels state it")
        splits[split].append(label)
    return splits


def _split_at_random(labels: list[Label], config: FolderConfig, seed: int) -> dict[str, list[Label]]:
    """Put whole groups into val, in an order that depends on their names and the seed, but not on the directory."""
    groups: dict[str, list[Label]] = {}
    for label in labels:
        groups.setdefault(_group(label, config), []).append(label)
    names = sorted(groups)
    ids = torch.tensor([crc32(name.encode(errors="surrogateescape")) for name in names])  # whatever the locale
    hashes = rng.bits(rng.key(seed, "folder split"), ids, 1)[:, 0]
    start, end = (_end_of_fold(len(labels), (config.fold + part) * float(config.val_fraction)) for part in (0, 1))
    val, num_before = set(), 0
    for index in hashes.argsort(stable=True).tolist():
        size = len(groups[names[index]])
        if start < num_before + size / 2 <= end:  # the middle of a group decides
            val.add(names[index])
        num_before += size
    if config.split_by and 0 < config.val_fraction < 1 and not 0 < len(val) < len(groups):
        way_out = "choose another data.split_seed or data.val_fraction" if len(groups) > 1 else "leave it out"
        raise UserError(
            f"data.split_by={config.split_by}: {len(val)} of {len(groups)} groups would be for validation: {way_out}"
        )
    splits: dict[str, list[Label]] = {"train": [], "val": []}
    for label in labels:
        splits["val" if _group(label, config) in val else "train"].append(label)
    return splits


def _group(label: Label, config: FolderConfig) -> str:
    """Return the name of what is in one split as a whole: the value of a column, or the image."""
    if not config.split_by:
        inside = label.image.is_relative_to(config.path)
        return label.image.relative_to(config.path).as_posix() if inside else str(label.image)
    if config.split_by not in label.columns:
        columns = ", ".join(label.columns) or "none"
        raise UserError(f"{label.location}: no column data.split_by={config.split_by}; its other columns: {columns}")
    return str(label.columns[config.split_by])


def _end_of_fold(num_labels: int, fraction: float) -> int:
    return int(num_labels * fraction + 1e-6)
