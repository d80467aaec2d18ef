"""Attention overlaid on an image.

Shapes   H W image
"""

from __future__ import annotations

import numpy as np

_GLOW_COLOR = np.asarray([1.0, 0.5, 0.13])


def overlay_attention(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Overlay attention on an image: attended pixels glow, other ink is dimmed; H W 3, uint8.

    Args:
        image: H W, floats in [0, 1], ink on 0.
        weights: H W, not negative; scaled by their maximum.
    """
    strength = (weights / max(float(weights.max()), 1e-12))[..., None]
    ink = image[..., None] * (0.3 + 0.7 * strength)
    glow = (1 - image[..., None]) * strength * _GLOW_COLOR * 0.8
    return ((ink + glow).clip(0, 1) * 255).round().astype(np.uint8)
