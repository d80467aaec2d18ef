"""Scenes put through something: digits turned, strokes thicker or thinner, pictures blurred, noisy or pale.

Shapes   B scenes   H W canvas   P digits of a pool   S side of a digit's frame
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from mnist_seq.config import ClutteredConfig, CorruptionConfig
from mnist_seq.data import augment, image_folder, rng
from mnist_seq.data.datasets import SceneDataset, SyntheticDataset
from mnist_seq.data.digits import MNIST_SIZE, Pool, ink_boxes
from mnist_seq.data.render import SceneBatch
from mnist_seq.errors import UserError

_DIGIT_CORRUPTIONS = ("rotation", "stroke")
"""What is done to digits before they are placed; all else is done to the picture."""


class CorruptedDataset:
    """A set's scenes with the same digits at the same places, and all of them put through the same."""

    def __init__(self, scenes: SceneDataset, config: CorruptionConfig) -> None:
        """
        Raises:
            ValueError: digits are to be changed, and these scenes are pictures alone.
        """
        if changed := [key for key in _DIGIT_CORRUPTIONS if key in config.non_default]:
            if not isinstance(scenes, SyntheticDataset):
                raise UserError(
                    f"corruption.{changed[0]}={config.non_default[changed[0]]} changes digits before they are placed, "
                    "and these scenes are pictures already: choose corruption.blur, noise or contrast"
                )
            scenes = SyntheticDataset(scenes.config, _corrupt_pool(scenes, config), scenes.seed)
        self._dataset, self._config = scenes, config
        self.split, self.spec, self.scenes_per_epoch, self.fixed = (
            scenes.split,
            scenes.spec,
            scenes.scenes_per_epoch,
            scenes.fixed,
        )

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int | slice) -> SceneBatch:
        return self.render(image_folder.resolve_indices(index, len(self)))

    def render(self, ids: Tensor | list[int], device: torch.device | str | None = None) -> SceneBatch:
        ids = torch.as_tensor(ids, dtype=torch.int64, device=device)
        batch = self._dataset.render(ids)
        return batch._replace(
            images=_corrupt_images(batch.images, ids, self._config, self.spec.digit_size / MNIST_SIZE)
        )

    def order_margins(self, ids: Tensor) -> Tensor | None:
        return self._dataset.order_margins(ids)


def _corrupt_pool(scenes: SyntheticDataset, config: CorruptionConfig) -> Pool:
    """The pool with its digits changed, and with them what fragments are cut from, where scenes show some."""
    pool, families = scenes.pool, getattr(scenes.config, "parts", {"": scenes.config}).values()
    images, clutter = _corrupt_digits(pool.images, pool.source_indices, config), pool.clutter
    if any(isinstance(each, ClutteredConfig) for each in families):
        clutter = _corrupt_digits(clutter, torch.arange(len(clutter)), config)
    return replace(pool, images=images, boxes=ink_boxes(images), clutter=clutter)


def _corrupt_digits(images: Tensor, indices: Tensor, config: CorruptionConfig) -> Tensor:
    """Digits, P S S, uint8, with other strokes, and turned."""
    pixels = images.float()
    if config.stroke:
        pixels = augment.adjust_stroke_width(images, torch.full((len(images),), config.stroke))
    if config.rotation:
        ways = 1 - 2 * rng.integers(rng.key(0, "disturb", "rotation"), indices, 1, 2)[:, 0]
        angles = ways * math.radians(config.rotation)
        cosine, sine = torch.cos(angles), torch.sin(angles)
        turn = torch.stack([cosine, -sine, sine, cosine], -1).unflatten(-1, (2, 2))
        pixels = augment.affine_warp(pixels, turn, torch.zeros(len(images), 2))
    return pixels.round().to(torch.uint8)


def _corrupt_images(images: Tensor, ids: Tensor, config: CorruptionConfig, pixel_scale: float) -> Tensor:
    """Pictures, B 1 H W, uint8, blurred, then paler, then noisy, as through a lens onto a sensor.

    Args:
        unit: what a pixel of a 28x28 frame is, pixels.
    """
    if not config.non_default.keys() - set(_DIGIT_CORRUPTIONS):
        return images
    pixels = images.float()
    if config.blur:
        deviation = config.blur * pixel_scale
        reach = min(math.ceil(3 * deviation), *(extent - 1 for extent in images.shape[2:]))
        pixels = gaussian_blur(pixels, 2 * reach + 1, deviation)
    pixels = pixels * config.contrast
    if config.noise:
        drawn = rng.uniform(rng.key(0, "disturb", "noise"), ids, images[0].numel())
        pixels = pixels + 255 * config.noise * torch.special.ndtri(drawn + 2**-25).view_as(pixels)
    return pixels.round().clamp(0, 255).to(torch.uint8)
