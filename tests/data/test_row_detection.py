"""What is found in a picture depends on that picture alone, and on no rounding error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mnist_seq.data.levels import stretch_levels
from mnist_seq.data.row_detection import Rows, _max_filter, find_ink, find_rows
from tests.data.preset_configs import pool

HEIGHT, WIDTH = 60, 80


def pictures(count: int, levels: int) -> Tensor:
    """Two digits on a ruled line that reaches the right edge, noisy, in few grey levels, so that many are equal."""
    generator = torch.Generator().manual_seed(levels)
    digits = pool("test").images[: 2 * count].unflatten(0, (count, 2)).float() / 255
    images = torch.zeros(count, HEIGHT, WIDTH)
    images[:, 14:42, 10:38], images[:, 14:42, 40:68] = digits.unbind(1)
    images[:, 40, 10:] = 0.8
    noisy = 0.1 + 0.7 * images + 0.15 * torch.rand(images.shape, generator=generator)
    return (noisy * levels).round() * (255 // levels) / 255


def ink_of(images: Tensor) -> Tensor:
    return find_ink(images, torch.tensor([HEIGHT, WIDTH]).repeat(len(images), 1))


def detect(images: Tensor) -> Rows:
    """Find rows; what is said of those that are not present is 0."""
    boxes, heights, num_shapes, present, num_omitted = find_rows(ink_of(images))
    return Rows(boxes * present[..., None], heights * present, num_shapes * present, present, num_omitted)


@pytest.mark.parametrize("levels", [5, 15, 51, 255])
def test_rounding_errors_do_not_decide_what_is_found(levels: int) -> None:
    images = pictures(150, levels)
    errors = 1e-7 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    inexact = (images + errors).clamp(0, 1)
    torch.testing.assert_close(ink_of(images), ink_of(inexact), atol=1e-4, rtol=0)
    for found, found_inexactly in zip(detect(images), detect(inexact), strict=True):
        assert torch.equal(found, found_inexactly)
    torch.testing.assert_close(stretch_levels(images), stretch_levels(inexact), atol=1e-4, rtol=0)


@pytest.mark.parametrize("padding", [(0, 48), (48, 0), (68, 48), (4, 2)])
def test_padding_changes_nothing(padding: tuple[int, int]) -> None:
    images = pictures(100, 51)
    padded = torch.nn.functional.pad(images, (0, padding[1], 0, padding[0]))
    for alone, beside_others in zip(detect(images), detect(padded), strict=True):
        assert torch.equal(alone, beside_others)


@pytest.mark.parametrize("window", [3, 15, 23, 39, 77])
@pytest.mark.parametrize("axes", [(1, 2), (2,)])
def test_the_filter_of_exported_graphs_is_that_of_torch(
    window: int, axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(6, 255) - torch.tensor([0.0, 1.0])[:, None, None].repeat(3, 1, 1)
    in_torch = _max_filter(images, window, axes)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(_max_filter(images, window, axes), in_torch)
