"""From pixels and tokens to vectors with a place.

Shapes   B batch   H W canvas   P patches   D model width
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.config import Spec


def learned(*shape: int) -> nn.Parameter:
    """A learned table of vectors: positions or class tokens."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(*shape), std=0.02))


class PatchEmbedding(nn.Module):
    """Cut the canvas into square patches, project each linearly, add a learned position (Dosovitskiy et al. 2021)."""

    def __init__(self, spec: Spec, dim: int, patch: int) -> None:
        super().__init__()
        smaller = min(spec.height, spec.width)
        if patch > smaller:
            raise ValueError(
                f"model.patch={patch} is larger than the {spec.height}x{spec.width} image: "
                f"choose at most model.patch={smaller}"
            )
        self.size, self.patch = (spec.height, spec.width), patch
        rows, cols = -(-spec.height // patch), -(-spec.width // patch)
        self.margin = (0, cols * patch - spec.width, 0, rows * patch - spec.height)
        self.project = nn.Linear(patch * patch, dim)
        self.position = learned(rows * cols, dim)

    def forward(self, images: Tensor) -> Tensor:
        """Vectors of the patches in raster order; B P D.

        Args:
            images: B 1 H W, uint8 grey levels or floats in [0, 1], ink on 0; H W as in the spec.

        Raises:
            ValueError: images of another size.
        """
        if images.shape[1:] != (1, *self.size):
            raise ValueError(f"images of shape {tuple(images.shape)}: this model reads (batch, 1, *{self.size})")
        if not images.is_floating_point():
            images = images.to(self.position.dtype) / 255
        canvas = F.pad(images[:, 0], self.margin).unflatten(2, (-1, self.patch)).unflatten(1, (-1, self.patch))
        return self.project(canvas.transpose(2, 3).flatten(3).flatten(1, 2)) + self.position
