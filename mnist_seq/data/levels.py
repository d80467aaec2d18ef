"""Stretch grey levels, so that paper is 0 and ink 1, in training as in inference. Noise and print are not removed.

Shapes   B images   H W size of an image
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

PAPER, INK = 0.4, 0.995
"""Shares of an image's pixels that are darker than the paper and than full ink, where ink is light."""
MIN_RANGE = 0.1
"""Least distance of the two levels: a fainter image is not stretched to the full range."""


def stretch_levels(
    images: Float[Tensor, "B H W"], inside: Bool[Tensor, "B H W"] | None = None
) -> Float[Tensor, "B H W"]:
    """Map the levels of paper and ink to 0 and 1, and clip.

    Args:
        images: in [0, 1], ink lighter than paper.
        inside: which pixels belong to the picture; the others become 0. None takes all.
    """
    pooled = F.avg_pool2d(images[:, None], 2, ceil_mode=True, count_include_pad=False)
    counted = torch.ones_like(pooled) if inside is None else F.max_pool2d(inside[:, None].float(), 2, ceil_mode=True)
    paper, ink = quantiles(to_grey_levels(pooled).flatten(1), counted.flatten(1), (PAPER, INK)).unbind(1)
    low, span = paper[:, None, None] / 255, ((ink - paper) / 255).clamp(min=MIN_RANGE)[:, None, None]
    stretched = ((images - low) / span).clamp(0, 1)
    return stretched if inside is None else stretched * inside


def to_grey_levels(values: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """Round values in 0..1 down to grey levels, 0..255.

    Means of four pixels, and differences of pixels, are multiples of a quarter of a level. An eighth is added, so that
    their rounding errors, which differ between torch and ONNX Runtime, do not decide.
    """
    return (255 * values + 0.125).long()


def quantiles(
    levels: Int[Tensor, "B N"], weights: Float[Tensor, "B N"], shares: tuple[float, ...]
) -> Int[Tensor, "B {len(shares)}"]:
    """Compute weighted quantiles of grey levels by a histogram, which is many times faster than sorting them.

    Args:
        levels: 0 to 255.
        weights: of each level, at least 0.
        shares: of the weight that lies at the quantile or below it, ascending, each in 0..1.
    """
    histogram = weights.new_zeros(levels.shape[0], 256).scatter_add(
        1, levels, weights
    )  # not len(): exported with any batch
    cumulative = histogram.cumsum(1)
    total = cumulative[:, -1:]
    return torch.stack([(cumulative < share * total).sum(1) for share in shares], 1).clamp(max=255)
