"""Figures of the lesson show patches, attention and probabilities as they are."""

from __future__ import annotations

import numpy as np
import torch

from mnist_seq.reporting import notebook_plots


def test_patches_are_plotted_in_raster_order_and_tile_the_image() -> None:
    image = torch.arange(56 * 56).view(56, 56) % 251
    full, *panels = notebook_plots.patches(image, 14).axes
    assert (np.asarray(full.images[0].get_array()) == image.numpy()).all()
    assert len(full.patches) == len(panels) == 16
    tiles = [np.asarray(panel.images[0].get_array()) for panel in panels]
    assert (np.block([tiles[row : row + 4] for row in range(0, 16, 4)]) == image.numpy()).all()


def test_attended_pixels_are_brighter() -> None:
    image, weights = torch.ones(28, 28), torch.zeros(2, 28, 28)
    weights[0, :14], weights[1, :, 14:] = 1, 0.01
    _, first, second = notebook_plots.attention_overlays(image, weights, ["a", "b"]).axes
    upper, right = (np.asarray(axes.images[0].get_array()).mean(-1) for axes in (first, second))
    assert upper[:14].min() > upper[14:].max()
    assert right[:, 14:].min() > right[:, :14].max(), "each map is scaled to its own maximum"
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]


def test_query_patch_is_framed() -> None:
    axes = notebook_plots.attention_overlays(torch.ones(56, 56), torch.ones(1, 56, 56), ["a"], [6], 14).axes[1]
    assert axes.patches[0].get_xy() == (2 * 14 - 0.5, 14 - 0.5)


def test_token_probabilities_are_bar_heights() -> None:
    figure = notebook_plots.token_probabilities([[0.25, 0.75], [1.0, 0.0]], ["first", "second"], ["x", "y"])
    assert [[bar.get_height() for bar in axes.patches] for axes in figure.axes] == [[0.25, 0.75], [1.0, 0.0]]
