"""Images on disk, mixed with synthetic scenes for training.

Shapes   B scenes
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_seq import vocabulary
from mnist_seq.config import Spec
from mnist_seq.data import rng
from mnist_seq.data.render import SceneBatch
from mnist_seq.data.scene_dataset import SceneDataset


class MixtureDataset(SceneDataset):
    """Images on disk for training, and synthetic scenes in place of a random part of them.

    Args:
        folder: the images.
        synthetic: scenes on the same canvas.
        fraction: of the scenes that are synthetic.
        seed: of the choice.
    """

    varies = True

    def __init__(self, folder: SceneDataset, synthetic: SceneDataset, fraction: float, seed: int) -> None:
        super().__init__(folder.split, folder.spec, len(folder), folder.scenes_per_epoch, fixed=True)
        self.folder, self.synthetic, self.fraction, self.seed = folder, synthetic, fraction, seed

    def _render(self, ids: Tensor) -> SceneBatch:
        drawn = rng.uniform(rng.key(self.seed, self.split, "synthetic"), ids, 1)[:, 0] < self.fraction
        of_folder = ids[~drawn] if self.folder.varies else ids[~drawn] % len(self)
        if not drawn.any():
            return self.folder.render(of_folder)
        if drawn.all():
            return _fit(self.synthetic.render(ids), self.spec)
        parts = (self.folder.render(of_folder), _fit(self.synthetic.render(ids[drawn]), self.spec))
        order = torch.cat([(~drawn).nonzero()[:, 0], drawn.nonzero()[:, 0]]).argsort()
        return SceneBatch(*(torch.cat(tensors)[order] for tensors in zip(*parts, strict=True)))


def _fit(batch: SceneBatch, spec: Spec) -> SceneBatch:
    """Pad the sequences of a batch to the longest of a problem, and leave the cells out where it has none."""
    padding = (0, spec.max_length - batch.digits.shape[1])
    digits = F.pad(batch.digits, padding, value=vocabulary.PAD)
    return batch._replace(
        digits=digits,
        tokens=vocabulary.encode(digits),
        cells=batch.cells[:, : math.prod(spec.cells)],
        boxes=F.pad(batch.boxes, (0, 0, *padding)),
        sources=F.pad(batch.sources, padding, value=-1),
    )
