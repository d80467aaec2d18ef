"""The positions of the digits of a reading, from the attention of the decoder.

Shapes   B images   N longest sequence   A attention heads   T tokens read   R C rows and columns of patches
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mnist_seq.errors import UserError
from mnist_seq.nn.attention_maps import attention_on_patches
from mnist_seq.nn.model import Model
from mnist_seq.nn.patch_embed import find_patch_embed

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
    patch_embed = find_patch_embed(model)
    maps = attention_on_patches(model, images, digits) if model.output_type == "sequence" else {}
    if patch_embed is None or not maps:
        raise UserError("locate=True: this model has no cross-attention over patches, which is needed to locate digits")
    weights = list(maps.values())[-1][:, :, : digits.shape[1]]  # B A T R C
    rows, cols = (torch.arange(length, device=images.device) for length in weights.shape[-2:])
    y, x = (patch_embed.patch_size * (index + 0.5) for index in (rows, cols))
    centres, variances = [], torch.full_like(weights[..., 0, 0], _EXTRA_VARIANCE)
    for positions, along in ((x, weights.sum(-2)), (y, weights.sum(-1))):
        centre = (along * positions).sum(-1)
        variances += (along * (positions - centre[..., None]) ** 2).sum(-1)
        centres.append(centre)
    share = variances**-2
    return (torch.stack(centres, -1) * share[..., None]).sum(1) / share.sum(1)[..., None]
