"""Patch embedding: from an image to a sequence of vectors.

Shapes: B batch, Y X image, P patches, D model width.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from mnist_seq.config import EncoderConfig, Spec
from mnist_seq.errors import UserError


class PatchEmbed(nn.Module):
    """Split an image into square patches, and embed each of them with a stem.

    Raises:
        UserError: the patches are larger than the image.
    """

    def __init__(self, config: EncoderConfig, spec: Spec) -> None:
        super().__init__()
        patch_size, largest = config.patch_size, min(spec.height, spec.width)
        if patch_size > largest:
            raise UserError(
                f"model.patch_size={patch_size} is larger than the {spec.height}x{spec.width} image: "
                f"choose at most model.patch_size={largest}"
            )
        rows, cols = -(-spec.height // patch_size), -(-spec.width // patch_size)
        self.image_size, self.patch_size = (spec.height, spec.width), patch_size
        self.grid_size = (rows, cols)
        self.padding = (0, cols * patch_size - spec.width, 0, rows * patch_size - spec.height)
        """Pixels of background left, right, above and below, as `F.pad` takes them."""
        self.stem = STEMS[config.stem](config)

    def forward(self, images: Num[Tensor, "B 1 Y X"]) -> Float[Tensor, "B P D"]:
        """Embed the patches, in raster order.

        Args:
            images: uint8 grey levels, or floats in [0, 1]; ink on a background of 0, of the size in the spec.

        Raises:
            ValueError: images of another size.
        """
        height, width = self.image_size
        if images.shape[1:] != (1, height, width):
            raise ValueError(f"images of shape {tuple(images.shape)}: this model expects (batch, 1, {height}, {width})")
        if any(self.padding):
            images = F.pad(images, self.padding)
        if not images.is_floating_point():
            images = (images / 255).to(next(self.parameters()).dtype)
        return self.stem(images)


def find_patch_embed(model: nn.Module) -> PatchEmbed | None:
    """Find how a model splits images into patches; None if it doesn't."""
    return next((module for module in model.modules() if isinstance(module, PatchEmbed)), None)


class LinearStem(nn.Module):
    """A linear projection of the pixels of each patch (Dosovitskiy et al. 2021)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.patch_size = config.patch_size
        self.proj = nn.Linear(config.patch_size**2, config.dim)

    def forward(self, images: Float[Tensor, "B 1 Y X"]) -> Float[Tensor, "B P D"]:
        size = self.patch_size
        patches = images[:, 0].unflatten(2, (-1, size)).unflatten(1, (-1, size))  # B rows size cols size
        return self.proj(patches.transpose(2, 3).flatten(3).flatten(1, 2))


class ConvStem(nn.Module):
    """Early convolutions (Xiao et al. 2021).

    3x3 convolutions halve the resolution as long as the patch size is even; a last convolution covers what is left of
    the patch. Each resolution has `stem_depth` convolutions, as in VGG (Simonyan & Zisserman 2015). There is no batch
    norm, so that a prediction never depends on the rest of the batch.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        num_halvings = (config.patch_size & -config.patch_size).bit_length() - 1
        layers: list[nn.Module] = []
        in_channels = 1
        for stage in range(max(1, num_halvings)):
            channels = min(config.dim, config.stem_width << stage)
            for stride in [2 if num_halvings else 1] + [1] * (config.stem_depth - 1):
                layers += [nn.Conv2d(in_channels, channels, 3, stride, padding=1), nn.ReLU()]
                in_channels = channels
        remaining = config.patch_size >> num_halvings
        self.layers = nn.Sequential(*layers, nn.Conv2d(in_channels, config.dim, remaining, remaining))

    def forward(self, images: Float[Tensor, "B 1 Y X"]) -> Float[Tensor, "B P D"]:
        # channels last, which is faster; of one channel, convolutions see that by the strides alone
        return self.layers(images[:, 0, :, :, None].movedim(-1, 1)).flatten(2).mT


STEMS: dict[str, type[nn.Module]] = {"linear": LinearStem, "conv": ConvStem}
