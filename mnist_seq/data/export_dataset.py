"""Scenes written to disk, for others to use without this package: PNG, JSON lines, a card and checksums.

Everything goes to DIR.part, in shards; a shard counts once its labels stand there whole. At the end DIR.part becomes
DIR. So DIR is whole wherever it is, and what a kill leaves is gone on with.
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
from mnist_seq.atomic_io import atomic_path, make_dir
from mnist_seq.data.datasets import SceneDataset
from mnist_seq.data.image_folder import CARD_FILE
from mnist_seq.data.render import SceneBatch
from mnist_seq.errors import UserError

_SHARD_SIZE = 500
"""Scenes a shard, and images a folder."""


def write_dataset(dataset: SceneDataset, num_scenes: int, metadata: dict[str, Any], target: Path) -> Iterator[int]:
    """Write the first scenes of a set, going on with what was begun; yields how many are there, again and again.

    Args:
        about: what the card says, in plain values; a folder is gone on with only for the same card.

    Raises:
        ValueError: the folder holds something else.
        CannotWriteError: it cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    card = json.dumps(metadata, indent=2) + "\n"
    if (target / CARD_FILE).is_file() and (target / CARD_FILE).read_text(encoding="utf-8") == card:
        yield num_scenes
        return
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"output_dir={target} is not empty: choose another directory")
    if part.exists() and (not (part / CARD_FILE).is_file() or (part / CARD_FILE).read_text(encoding="utf-8") != card):
        raise UserError(
            f"{part} contains a partial export of another dataset: remove it, or choose another output_dir="
        )
    make_dir("output_dir", target.parent)
    shards = part / "shards"
    if not (part / "labels.jsonl").is_file():
        yield from _write_shards(dataset, num_scenes, shards, part, card)
        _finalize(num_scenes, shards, part)
    shutil.rmtree(shards, ignore_errors=True)
    part.replace(target)


def _write_shards(dataset: SceneDataset, num_scenes: int, shards: Path, part: Path, card: str) -> Iterator[int]:
    shards.mkdir(parents=True, exist_ok=True)
    with atomic_path(part / CARD_FILE) as path:
        path.write_text(card, encoding="utf-8")
    for first in range(0, num_scenes, _SHARD_SIZE):
        last = min(first + _SHARD_SIZE, num_scenes)
        labels = shards / f"{first:08}.jsonl"
        if not labels.is_file():
            rows = _write_images(dataset.render(torch.arange(first, last)), first, part, dataset.spec.cells)
            with atomic_path(labels) as path:
                path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        yield last


def _write_images(scenes: SceneBatch, first: int, part: Path, grid: tuple[int, int]) -> list[dict[str, Any]]:
    """The images of a shard, and the lines of their labels.

    Args:
        grid: rows and columns of the cells that hold a digit each, 0 0 where there are none.
    """
    folder = Path("images") / f"{first // _SHARD_SIZE:05}"
    (part / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for place, image in enumerate(scenes.images[:, 0].numpy()):
        written = io.BytesIO()
        Image.fromarray(image).save(written, "png")
        name = folder / f"{first + place:08}.png"
        (part / name).write_bytes(written.getvalue())
        count = int(scenes.counts[place])
        row = {
            "image": name.as_posix(),
            "digits": scenes.digits[place, :count].tolist(),
            "boxes": scenes.boxes[place, :count].tolist(),
            "sources": scenes.sources[place, :count].tolist(),
        }
        if any(grid):
            held = [None if cell == vocabulary.EMPTY_CELL else cell for cell in scenes.cells[place].tolist()]
            row["cells"] = [held[start : start + grid[1]] for start in range(0, len(held), grid[1])]
        rows.append(row | {"sha256": hashlib.sha256(written.getvalue()).hexdigest()})
    return rows


def _finalize(num_scenes: int, shards: Path, part: Path) -> None:
    """Labels, README and checksums of the whole; the labels last, as the sign that all is there."""
    labels = "".join(shard.read_text(encoding="utf-8") for shard in sorted(shards.glob("*.jsonl")))
    card = json.loads((part / CARD_FILE).read_text(encoding="utf-8"))
    (part / "README.md").write_text(_readme(card), encoding="utf-8")
    sums = [(row["sha256"], row["image"]) for row in map(json.loads, labels.splitlines())]
    assert len(sums) == num_scenes
    texts = {name: (part / name).read_bytes() for name in ("README.md", CARD_FILE)} | {"labels.jsonl": labels.encode()}
    sums += [(hashlib.sha256(text).hexdigest(), name) for name, text in texts.items()]
    (part / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for digest, name in sums), encoding="utf-8")
    with atomic_path(part / "labels.jsonl") as path:
        path.write_text(labels, encoding="utf-8")


def _readme(card: dict[str, Any]) -> str:
    data = {f"data.{key}": value for key, value in card["data"].items()}
    told = {key: value for key, value in {**card, **data}.items() if value not in (None, "", card["protocol"])}
    facts = "\n".join(f"| {key} | {value} |" for key, value in told.items() if not isinstance(value, dict))
    return f"""# {card["family"]}: {card["scenes"]:,} scenes of handwritten digits

{card["protocol"]}

    labels.jsonl   a line each: image, digits in reading order, boxes (x0 y0 x1 y1 of the ink, pixels, half open),
                   sources (index of each digit in its data set, training images first), cells (what each cell of
                   a grid holds, row by row, where no two digits share one), sha256 of the image
    images/        8-bit grey PNG, light ink on black
    SHA256SUMS     check with: sha256sum --check --quiet SHA256SUMS
    {CARD_FILE}      how it was made, for machines

| | |
|---|---|
{facts}
"""
