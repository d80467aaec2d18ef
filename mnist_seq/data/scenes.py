"""Scenes as pure functions: ids -> images and their truth. A scene depends on (seed, split, id) and on nothing else.

Shapes   B scenes   N slots for digits   H W canvas   C cells   S side of a digit's frame
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mnist_seq import tokens
from mnist_seq.config import DataConfig, GridConfig, SingleConfig, Spec
from mnist_seq.data import augment, rng
from mnist_seq.data.digits import SIDE, Pool, ink_boxes

TEST_SCENES = 10_000
"""Scenes of a test set, unless another number is asked for."""


class Scenes(NamedTuple):
    """A batch of rendered scenes and all that is true of them. Digits stand in reading order."""

    images: Tensor
    """B 1 H W, uint8: ink on a background of 0."""
    digits: Tensor
    """B N, int64, PAD after the last."""
    tokens: Tensor
    """B N+2, int64: the same, framed by BOS and EOS."""
    cells: Tensor
    """B C, int64: the digit in each cell, or EMPTY."""
    counts: Tensor
    """B, int64."""
    boxes: Tensor
    """B N 4, int64: x0 y0 x1 y1 of the ink, pixels, half open; zeros after the last digit."""
    sources: Tensor
    """B N, int64: index of the digit in its data set, -1 after the last."""

    def to(self, device: torch.device | str) -> Scenes:
        return Scenes(*(part.to(device) for part in self))


Family = Callable[[Tensor, DataConfig, Pool, int, bool], Scenes]


def grid(ids: Tensor, config: DataConfig, pool: Pool, seed: int, distorted: bool) -> Scenes:
    """A digit in each cell of a grid, or none with chance `empty`; read in raster order."""
    assert isinstance(config, GridConfig)
    rows, cols, slots = config.rows, config.cols, config.rows * config.cols
    chosen = rng.integers(rng.key(seed, pool.split, "digit"), ids, slots, len(pool))
    present = rng.uniform(rng.key(seed, pool.split, "empty"), ids, slots) >= config.empty
    glyphs, boxes = _glyphs(ids, chosen, pool, config, seed, distorted)
    glyphs = glyphs * present[..., None, None]

    images = glyphs.unflatten(1, (rows, cols)).transpose(2, 3).reshape(-1, 1, rows * SIDE, cols * SIDE)
    cell = torch.arange(slots, device=ids.device)
    corners = torch.stack([cell % cols, cell // cols], -1) * SIDE
    boxes = boxes + corners.repeat(1, 2)

    labels = torch.where(present, pool.labels[chosen], tokens.EMPTY)
    order = present.logical_not().long().argsort(dim=1, stable=True)
    counts = present.sum(1)
    ranked = cell < counts[:, None]
    digits = torch.where(ranked, labels.gather(1, order), tokens.PAD)
    return Scenes(
        images=images,
        digits=digits,
        tokens=tokens.encode(digits),
        cells=labels,
        counts=counts,
        boxes=boxes.gather(1, order[..., None].expand_as(boxes)) * ranked[..., None],
        sources=torch.where(ranked, pool.indices[chosen].gather(1, order), -1),
    )


def single(ids: Tensor, config: DataConfig, pool: Pool, seed: int, distorted: bool) -> Scenes:
    """One digit that fills the canvas: a grid of one cell."""
    shared = {key: value for key, value in vars(config).items() if key != "family"}
    return grid(ids, GridConfig(**shared, rows=1, cols=1), pool, seed, distorted)


SCENES: dict[str, Family] = {"single": single, "grid": grid}


def spec(config: DataConfig) -> Spec:
    """The shape of the problem that a family's scenes pose."""
    if isinstance(config, SingleConfig):
        return Spec(SIDE, SIDE, 1, (1, 1))
    assert isinstance(config, GridConfig)
    rows, cols = config.rows, config.cols
    return Spec(rows * SIDE, cols * SIDE, rows * cols, (rows, cols))


class SceneSet:
    """A lazy sequence of scenes: `[i]` and `[a:b]` render just those, on the CPU; `render` any ids on any device.

    Digits are distorted in the training split alone.
    """

    def __init__(self, config: DataConfig, pool: Pool, seed: int = 0, length: int | None = None) -> None:
        self.config, self.seed = config, seed
        self.spec = spec(config)
        self.split = pool.split
        self._pools = {torch.device("cpu"): pool}
        lengths = {"train": 2**31 - 1, "val": config.val_scenes, "test": TEST_SCENES}
        self._length = length or lengths[self.split]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int | slice) -> Scenes:
        """One scene as a batch of one, or a batch.

        Raises:
            IndexError: beyond the end.
        """
        if isinstance(index, slice):
            return self.render(torch.arange(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"scene {index} of {len(self)}")
        return self.render(torch.tensor([index % len(self)]))

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> Scenes:
        """The scenes with these ids.

        Args:
            ids: B, integers in any order.
            device: where to render; by default where the ids are.
        """
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        family = SCENES[self.config.family]
        return family(ids, self.config, self._pool(ids.device), self.seed, self.split == "train")

    def _pool(self, device: torch.device) -> Pool:
        if device not in self._pools:
            self._pools[device] = self._pools[torch.device("cpu")].to(device)
        return self._pools[device]


def _glyphs(
    ids: Tensor, chosen: Tensor, pool: Pool, config: DataConfig, seed: int, distorted: bool
) -> tuple[Tensor, Tensor]:
    """The digits' pixels, B N S S, and the boxes of their ink within the frame, B N 4."""
    glyphs, boxes = pool.images[chosen], pool.boxes[chosen]
    if not distorted or not any(vars(config.augment).values()):
        return glyphs, boxes
    slots = chosen.shape[1]
    draws = rng.uniform(rng.key(seed, pool.split, "distort"), ids, slots * augment.DRAWS)
    flat = augment.distort(glyphs.flatten(0, 1), boxes.flatten(0, 1), draws.view(-1, augment.DRAWS), config.augment)
    return flat.unflatten(0, chosen.shape), ink_boxes(flat).unflatten(0, chosen.shape)
