"""Write scenes to disk for use without this package: PNG images, labels.jsonl, a card and checksums.

Everything goes to DIR.part first, in shards; a shard is complete when its label file exists. At the end DIR.part is
renamed to DIR. So DIR is complete whenever it exists, and an export that was killed resumes.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mnist_seq import vocabulary
from mnist_seq.atomic_io import atomic_write_text, make_dir, write_errors
from mnist_seq.config.migrations import migrate_card
from mnist_seq.data.image_folder import CARD_FILE, parse_card
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.scene_dataset import SceneDataset
from mnist_seq.errors import UserError

_SHARD_SIZE = 500
"""Scenes per shard, and images per directory."""


def write_dataset(dataset: SceneDataset, num_scenes: int, metadata: dict[str, Any], target: Path) -> Iterator[int]:
    """Write the first scenes of a dataset, resuming an interrupted export; yield the number written so far.

    Args:
        metadata: content of the card, as plain values; an export is only resumed with the same metadata.

    Raises:
        UserError: the directory contains something else.
        CannotWriteError: no permission, or no space left.
    """
    part = target.with_name(f"{target.name}.part")
    if _has_card(target, metadata):
        yield num_scenes
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"output_dir={target} is not empty: choose another directory")
    if part.exists() and not _has_card(part, metadata):
        raise UserError(
            f"{part} contains a partial export of another dataset: remove it, or choose another output_dir="
        )
    make_dir("output_dir", target.parent)
    shards = part / "shards"
    with write_errors(target):
        if not (part / "labels.jsonl").is_file():
            yield from _write_shards(dataset, num_scenes, shards, part, metadata)
            _finalize(num_scenes, shards, part)
        shutil.rmtree(shards, ignore_errors=True)
        part.replace(target)


def _has_card(directory: Path, metadata: dict[str, Any]) -> bool:
    """Return whether a directory has a card with this metadata; how the protocol is worded does not count."""
    if not (directory / CARD_FILE).is_file():
        return False
    try:
        card = parse_card(directory / CARD_FILE)
    except UserError:
        return False
    expected = migrate_card(json.loads(json.dumps(metadata)), directory)
    return card | {"protocol": None} == expected | {"protocol": None}


def _write_shards(
    dataset: SceneDataset, num_scenes: int, shards: Path, part: Path, metadata: dict[str, Any]
) -> Iterator[int]:
    shards.mkdir(parents=True, exist_ok=True)
    atomic_write_text(part / CARD_FILE, json.dumps(metadata, indent=2) + "\n")
    for start in range(0, num_scenes, _SHARD_SIZE):
        end = min(start + _SHARD_SIZE, num_scenes)
        labels = shards / f"{start:08}.jsonl"
        if not labels.is_file():
            rows = _write_images(dataset.render(torch.arange(start, end)), start, part, dataset.spec.cells)
            atomic_write_text(labels, "".join(f"{json.dumps(row)}\n" for row in rows))
        yield end


def _write_images(batch: SceneBatch, start: int, part: Path, grid: tuple[int, int]) -> list[dict[str, Any]]:
    """Write the images of a shard, and return the rows of its labels.

    Args:
        start: index of the first scene.
        grid: rows and columns of the cells, 0 0 if there are none.
    """
    directory = Path("images") / f"{start // _SHARD_SIZE:05}"
    (part / directory).mkdir(parents=True, exist_ok=True)
    rows = []
    for index, image in enumerate(batch.images[:, 0].numpy()):
        png = io.BytesIO()
        Image.fromarray(image).save(png, "png")
        path = directory / f"{start + index:08}.png"
        (part / path).write_bytes(png.getvalue())
        count = int(batch.counts[index])
        row = {
            "image": path.as_posix(),
            "digits": batch.digits[index, :count].tolist(),
            "boxes": batch.boxes[index, :count].tolist(),
            "sources": batch.sources[index, :count].tolist(),
        }
        if any(grid):
            cells = batch.cells[index].view(grid).tolist()
            row["cells"] = [[None if cell == vocabulary.EMPTY_CELL else cell for cell in line] for line in cells]
        rows.append(row | {"sha256": hashlib.sha256(png.getvalue()).hexdigest()})
    return rows


def _finalize(num_scenes: int, shards: Path, part: Path) -> None:
    """Write README, checksums and labels; labels.jsonl comes last and marks the export as complete."""
    labels = "".join(shard.read_text(encoding="utf-8") for shard in sorted(shards.glob("*.jsonl")))
    card = json.loads((part / CARD_FILE).read_text(encoding="utf-8"))
    (part / "README.md").write_text(_readme(card), encoding="utf-8")
    checksums = [(row["sha256"], row["image"]) for row in map(json.loads, labels.splitlines())]
    assert len(checksums) == num_scenes
    files = {name: (part / name).read_bytes() for name in ("README.md", CARD_FILE)} | {"labels.jsonl": labels.encode()}
    checksums += [(hashlib.sha256(content).hexdigest(), name) for name, content in files.items()]
    (part / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for digest, name in checksums), encoding="utf-8")
    atomic_write_text(part / "labels.jsonl", labels)


def _readme(card: dict[str, Any]) -> str:
    values = card | {f"data.{key}": value for key, value in card["data"].items()}
    shown = {key: value for key, value in values.items() if value not in (None, "", card["protocol"])}
    table = "\n".join(f"| {key} | {value} |" for key, value in shown.items() if not isinstance(value, dict))
    return f"""# {card["family"]}: {card["scenes"]:,} scenes of handwritten digits

{card["protocol"]}

    labels.jsonl   one line per image: image, digits in reading order, boxes (x0 y0 x1 y1 of the ink, pixels, half
                   open), sources (index of each digit in its source dataset, training images first), cells (what each
                   cell of a grid holds, row by row, if no two digits share one), sha256 of the image
    images/        8-bit grey PNG, light ink on black
    SHA256SUMS     check with: sha256sum --check --quiet SHA256SUMS
    {CARD_FILE}      how the dataset was made, for programs

| | |
|---|---|
{table}
"""
