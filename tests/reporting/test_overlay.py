"""Figures of what happens inside a reader."""

from __future__ import annotations

import numpy as np
import torch

from mnist_seq.reporting import notebook_plots


def test_patches_are_drawn_in_raster_order_and_together_are_the_image() -> None:
    image = torch.arange(56 * 56).view(56, 56) % 251
    whole, *panels = notebook_plots.patches(image, 14).axes
    assert (np.asarray(whole.images[0].get_array()) == image.numpy()).all()
    assert len(whole.patches) == len(panels) == 16
    cut = [np.asarray(panel.images[0].get_array()) for panel in panels]
    assert (np.block([cut[row : row + 4] for row in range(0, 16, 4)]) == image.numpy()).all()


def test_what_is_looked_at_is_brighter() -> None:
    image, weights = torch.ones(28, 28), torch.zeros(2, 28, 28)
    weights[0, :14], weights[1, :, 14:] = 1, 0.01
    _, first, second = notebook_plots.attention_overlays(image, weights, ["a", "b"]).axes
    upper, right = (np.asarray(axes.images[0].get_array()).mean(-1) for axes in (first, second))
    assert upper[:14].min() > upper[14:].max()
    assert right[:, 14:].min() > right[:, :14].max(), "each look by its own largest weight"
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]


def test_the_patch_that_looks_is_framed() -> None:
    axes = notebook_plots.attention_overlays(torch.ones(56, 56), torch.ones(1, 56, 56), ["a"], [6], 14).axes[1]
    assert axes.patches[0].get_xy() == (2 * 14 - 0.5, 14 - 0.5)


def test_chances_are_drawn_as_they_are() -> None:
    figure = notebook_plots.token_probabilities([[0.25, 0.75], [1.0, 0.0]], ["first", "second"], ["x", "y"])
    assert [[bar.get_height() for bar in axes.patches] for axes in figure.axes] == [[0.25, 0.75], [1.0, 0.0]]
