"""Where the digits of a reading stand, by the attention of the decoder.

Shapes   B images   N longest sequence   A attention heads   T tokens read   R C rows and columns of patches
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnist_seq.errors import UserError
from mnist_seq.nn.attention_maps import compute_attention_maps
from mnist_seq.nn.model import Model
from mnist_seq.nn.patch_embed import PatchEmbed

_EXTRA_VARIANCE = 4.0
"""Added to the variance of each head's attention, pixels squared: attention to one patch would have none."""


@torch.no_grad()
def locate_digits(model: Model, images: Float[Tensor, "B 1 H W"], digits: Int[Tensor, "B N"]) -> Float[Tensor, "B N 2"]:
    """Locate the centre of each digit: where the last cross-attention looks while the digit is predicted.

    Heads look at other things too. The centre is the mean of the heads' centroids, weighted by the inverse square of
    the variance of their attention over the image: a head that looks at one place outweighs those that look around.

    Args:
        images: floats in [0, 1], ink on 0.
        digits: as the model predicted them, PAD after the last.

    Returns:
        x y, pixels of the image; meaningless after the last digit.

    Raises:
        UserError: a model without cross-attention from tokens to patches.
    """
    patch_embed = next((module for module in model.modules() if isinstance(module, PatchEmbed)), None)
    maps = compute_attention_maps(model, images, digits) if model.output_type == "sequence" and patch_embed else {}
    weights = next((maps[name] for name in reversed(maps) if name.endswith("cross_attention")), None)
    if (
        patch_embed is None
        or weights is None
        or weights.shape[-1] != patch_embed.grid_size[0] * patch_embed.grid_size[1]
    ):
        raise UserError("locate=True: this model has no cross-attention over patches, which shows where a digit stands")
    rows, cols = patch_embed.grid_size
    _, right, _, below = patch_embed.padding
    height, width = images.shape[-2:]
    y = (torch.arange(rows, device=images.device) + 0.5) * ((height + below) / rows)
    x = (torch.arange(cols, device=images.device) + 0.5) * ((width + right) / cols)
    weights = weights[:, :, : digits.shape[1]].unflatten(-1, (rows, cols))  # B A T R C
    centres, variances = [], torch.full_like(weights[..., 0, 0], _EXTRA_VARIANCE)
    for positions, along in ((x, weights.sum(-2)), (y, weights.sum(-1))):
        centre = (along * positions).sum(-1)
        variances += (along * (positions - centre[..., None]) ** 2).sum(-1)
        centres.append(centre)
    share = variances**-2
    return (torch.stack(centres, -1) * share[..., None]).sum(1) / share.sum(1)[..., None]
