"""Baseline: the same scenes drawn sample by sample with PIL and torchvision in the workers of a DataLoader.

Positions and labels come from `data.layouts` and are computed before the clock starts, so that only drawing is timed.
Without augmentation the images equal those of `data.render` to the bit; with it, digits go through torchvision's
RandomAffine with the same ranges. Boxes and cells are not computed.
"""

from __future__ import annotations

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
from mnist_seq.data.distractors import DISTRACTOR_SIZE
from mnist_seq.data.layouts import LAYOUTS


def build_loader(
    config: DataConfig, pool: Pool, num_scenes: int, batch_size: int, num_workers: int, augment: bool
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader of batches of images (B 1 H W, uint8) and digits (B N, int64, PAD after the last)."""
    return DataLoader(PerSampleDataset(config, pool, num_scenes, augment), batch_size, num_workers=num_workers)


class PerSampleDataset(Dataset[tuple[Tensor, Tensor]]):
    """Scenes 0 to num_scenes - 1 of a data config with seed 0, each drawn when it is indexed.

    Args:
        config: of the scenes.
        pool: digits of the config's size.
        num_scenes: length of the dataset.
        augment: distort each digit by torchvision's RandomAffine, with the ranges of `config.augment`.
    """

    def __init__(self, config: DataConfig, pool: Pool, num_scenes: int, augment: bool) -> None:
        self.spec = config.spec
        self.images, self.labels, self.clutter_images = pool.images.numpy(), pool.labels.tolist(), pool.clutter.numpy()
        self.transform = _random_affine(config.augment) if augment else None
        layout = LAYOUTS[config.family](torch.arange(num_scenes), config, pool, 0)
        self.counts = layout.present.sum(1).tolist()
        self.indices, self.corners = layout.indices.tolist(), layout.corners.tolist()
        self.distractors = [part.tolist() for part in layout.distractors or ()]

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """An image (1 H W, uint8) and its digits in reading order (N, int64, PAD after the last)."""
        canvas = Image.new("L", (self.spec.width, self.spec.height))
        if self.distractors:
            self._paste_distractors(canvas, index)
        count = self.counts[index]
        indices = self.indices[index][:count]
        for digit_index, (x, y) in zip(indices, self.corners[index][:count], strict=True):
            digit = Image.fromarray(self.images[digit_index])
            if self.transform is not None:
                digit = self.transform(digit)
            background = canvas.crop((x, y, x + digit.width, y + digit.height))
            canvas.paste(ImageChops.add(background, digit), (x, y))
        digits = [self.labels[digit_index] for digit_index in indices]
        digits += [vocabulary.PAD] * (self.spec.max_length - count)
        return pil_to_tensor(canvas), torch.tensor(digits)

    def _paste_distractors(self, canvas: Image.Image, index: int) -> None:
        for source, (left, top), corner, present in zip(*(part[index] for part in self.distractors), strict=True):
            if present:
                image = Image.fromarray(self.clutter_images[source])
                canvas.paste(image.crop((left, top, left + DISTRACTOR_SIZE, top + DISTRACTOR_SIZE)), tuple(corner))


def _random_affine(config: AugmentConfig) -> RandomAffine:
    return RandomAffine(
        config.rotation,
        translate=(config.shift / 28, config.shift / 28),
        scale=(1 - config.scale, 1 + config.scale),
        shear=config.shear,
        interpolation=InterpolationMode.BILINEAR,
    )
