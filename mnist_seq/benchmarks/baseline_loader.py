"""The same scenes as most would draw them: one by one, with PIL and torchvision, by a DataLoader's workers.

It does less than `data.scenes`: no boxes, no margins around the reading order, draws that follow the worker's state.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image, ImageChops
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomAffine
from torchvision.transforms.v2.functional import pil_to_tensor

from mnist_seq import vocabulary
from mnist_seq.config import AugmentConfig, DataConfig
from mnist_seq.data.digits import Pool

Placed = list[tuple[int, int, int]]
"""The digits of a scene in reading order: place in the pool, x and y of the frame's corner."""
_RESTARTS = 100
"""Layouts that are begun anew before digits go to the cells of a grid."""


def build_loader(
    config: DataConfig, pool: Pool, num_scenes: int, batch_size: int, num_workers: int, augment: bool
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of images, B 1 H W, uint8, and digits, B N, PAD after the last, drawn by worker processes."""
    return DataLoader(PerSampleDataset(config, pool, num_scenes, augment), batch_size, num_workers=num_workers)


class PerSampleDataset(Dataset[tuple[Tensor, Tensor]]):
    """So many scenes of a family, each drawn when it is asked for."""

    def __init__(self, config: DataConfig, pool: Pool, scenes: int, distorted: bool) -> None:
        self.config, self.num_scenes = config, scenes
        self.images, self.labels, self.clutter_images = pool.images.numpy(), pool.labels.tolist(), pool.clutter.numpy()
        self.transform = _random_affine(config.augment) if distorted else None

    def __len__(self) -> int:
        return self.num_scenes

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        draws, spec = random.Random(index), self.config.spec
        placed = FAMILIES[self.config.family](draws, self.config, self.labels)
        canvas = Image.new("L", (spec.width, spec.height))
        if self.config.family == "cluttered":
            self._paste_fragments(canvas, draws)
        for chosen, x, y in placed:
            glyph = Image.fromarray(self.images[chosen])
            if self.transform is not None:
                glyph = self.transform(glyph)
            under = canvas.crop((x, y, x + glyph.width, y + glyph.height))
            canvas.paste(ImageChops.add(under, glyph), (x, y))
        digits = [self.labels[chosen] for chosen, _, _ in placed]
        digits += [vocabulary.PAD] * (spec.max_length - len(digits))
        return pil_to_tensor(canvas), torch.tensor(digits)

    def _paste_fragments(self, canvas: Image.Image, draws: random.Random) -> None:
        for _ in range(self.config.num_distractors):  # type: ignore[attr-defined]
            source = Image.fromarray(self.clutter_images[draws.randrange(len(self.clutter_images))])
            x, y = draws.randrange(19), draws.randrange(19)
            canvas.paste(source.crop((x, y, x + 9, y + 9)), (draws.randrange(91), draws.randrange(91)))


def _single(draws: random.Random, config: Any, labels: list[int]) -> Placed:
    return [(draws.randrange(len(labels)), 0, 0)]


def _grid(draws: random.Random, config: Any, labels: list[int]) -> Placed:
    side = config.digit_size
    cells = [(row, col) for row in range(config.rows) for col in range(config.cols)]
    return [
        (draws.randrange(len(labels)), col * side, row * side) for row, col in cells if draws.random() >= config.p_empty
    ]


def _scatter(draws: random.Random, config: Any, labels: list[int]) -> Placed:
    count = draws.randint(config.min_digits, config.max_digits)
    corners: list[tuple[int, int]] = []
    for _ in range(1 if config.drop_unplaced else _RESTARTS):
        corners = []
        for _ in range(count):
            for _ in range(config.max_attempts):
                x, y = (draws.randint(0, extent - config.digit_size) for extent in (config.width, config.height))
                if all(max(abs(x - a), abs(y - b)) >= config.digit_size for a, b in corners):
                    corners.append((x, y))
                    break
        if len(corners) == count:
            break
    if len(corners) < count and not config.drop_unplaced:
        cells = [
            (x, y)
            for y in range(0, config.height - config.digit_size + 1, config.digit_size)
            for x in range(0, config.width - config.digit_size + 1, config.digit_size)
        ]
        corners = draws.sample(cells, count)
    return [(draws.randrange(len(labels)), x, y) for x, y in _read(config.order, corners, config.digit_size)]


def _line(draws: random.Random, config: Any, labels: list[int]) -> Placed:
    steps = [
        draws.randint(config.min_advance, config.max_advance) for _ in range(1, draws.randint(1, config.max_digits))
    ]
    x = draws.randint(0, config.width - config.digit_size - sum(steps))
    placed = []
    for step in [0, *steps]:
        x += step
        placed.append((draws.randrange(len(labels)), x, draws.randint(0, config.height - config.digit_size)))
    return placed


def _overlap(draws: random.Random, config: Any, labels: list[int]) -> Placed:
    chosen: list[int] = []
    count = draws.randint(config.min_digits, config.max_digits)
    while len(chosen) < count:
        digit = draws.randrange(len(labels))
        if not config.distinct or all(labels[digit] != labels[other] for other in chosen):
            chosen.append(digit)
    x, y = (config.width - config.digit_size) // 2, (config.height - config.digit_size) // 2
    shift = config.shift
    chosen.sort(key=lambda digit: labels[digit])
    return [(digit, x + draws.randint(-shift, shift), y + draws.randint(-shift, shift)) for digit in chosen]


def _cluttered(draws: random.Random, config: Any, labels: list[int]) -> Placed:
    x, y, slope = 8 + draws.randint(-8, 7), draws.randint(0, 99), draws.randint(-14, 13)
    tops = [min(max(y + slope * digit, 0), 72) for digit in range(3)]
    return [(draws.randrange(len(labels)), x + 28 * digit, top) for digit, top in enumerate(tops)]


FAMILIES: dict[str, Callable[[random.Random, Any, list[int]], Placed]] = {
    "single": _single,
    "grid": _grid,
    "scatter": _scatter,
    "line": _line,
    "overlap": _overlap,
    "cluttered": _cluttered,
}


def _read(order: str, corners: list[tuple[int, int]], side: int) -> list[tuple[int, int]]:
    """Corners from left to right, or by rows: the first holds every top less than half a side below the topmost."""
    if order == "left_to_right":
        return sorted(corners)
    rest, read = sorted(corners, key=lambda corner: corner[1]), []
    while rest:
        row = [corner for corner in rest if corner[1] - rest[0][1] < side / 2]
        read += sorted(row)
        rest = rest[len(row) :]
    return read


def _random_affine(config: AugmentConfig) -> RandomAffine:
    return RandomAffine(
        config.rotation,
        translate=(config.shift / 28, config.shift / 28),
        scale=(1 - config.scale, 1 + config.scale),
        shear=config.shear,
        interpolation=InterpolationMode.BILINEAR,
    )
