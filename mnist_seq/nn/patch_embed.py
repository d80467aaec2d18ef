"""From pixels to vectors: what makes a token of each patch of the canvas.

Shapes   B batch   H W canvas   P patches   D model width   S side of a patch
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.errors import UserError


class PatchEmbed(nn.Module):
    """Cuts the canvas into square patches, and makes a vector of each by a stem."""

    def __init__(self, config: EncoderConfig, spec: Spec) -> None:
        super().__init__()
        smaller = min(spec.height, spec.width)
        if config.patch_size > smaller:
            raise UserError(
                f"model.patch_size={config.patch_size} is larger than the {spec.height}x{spec.width} image: "
                f"choose at most model.patch_size={smaller}"
            )
        self.image_size = (spec.height, spec.width)
        self.grid_size = (-(-spec.height // config.patch_size), -(-spec.width // config.patch_size))
        """Rows and columns of patches."""
        rows, cols = self.grid_size
        self.padding = (0, cols * config.patch_size - spec.width, 0, rows * config.patch_size - spec.height)
        self.stem = STEMS[config.stem](config)

    def forward(self, images: Tensor) -> Tensor:
        """Vectors of the patches in raster order; B P D.

        Args:
            images: B 1 H W, uint8 grey levels or floats in [0, 1], ink on 0; H W as in the spec.

        Raises:
            ValueError: images of another size.
        """
        if images.shape[1:] != (1, *self.image_size):
            raise ValueError(f"images of shape {tuple(images.shape)}: this model reads (batch, 1, *{self.image_size})")
        if any(self.padding):
            images = F.pad(images, self.padding)
        if not images.is_floating_point():
            images = (images / 255).to(next(self.parameters()).dtype)
        return self.stem(images)


class LinearStem(nn.Module):
    """The pixels of a patch, projected (Dosovitskiy et al. 2021)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.proj = nn.Linear(config.patch_size**2, config.dim)

    def forward(self, images: Tensor) -> Tensor:  # B 1 H W
        cut = images[:, 0].unflatten(2, (-1, self.patch_size)).unflatten(1, (-1, self.patch_size))  # B rows S cols S
        return self.proj(cut.transpose(2, 3).flatten(3).flatten(1, 2))


class ConvStem(nn.Module):
    """Early convolutions (Xiao et al. 2021): 3x3, halving while the patch is even, then what is left of it at once.

    Several to a resolution, as in VGG (Simonyan & Zisserman 2015), and without batch norms, so that a reading never
    depends on what else was read.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        halvings = (config.patch_size & -config.patch_size).bit_length() - 1
        layers: list[nn.Module] = []
        before = 1
        for halving in range(max(1, halvings)):
            width = min(config.dim, config.stem_width << halving)
            for stride in [2 if halvings else 1] + [1] * (config.stem_depth - 1):
                layers += [nn.Conv2d(before, width, 3, stride, padding=1), nn.ReLU()]
                before = width
        rest = config.patch_size >> halvings
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, config.dim, rest, rest))

    def forward(self, images: Tensor) -> Tensor:  # B 1 H W
        return self.layers(images.contiguous(memory_format=torch.channels_last)).flatten(2).mT


STEMS: dict[str, type[nn.Module]] = {"linear": LinearStem, "conv": ConvStem}
