"""Where digits stand: by the attention of the decoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mnist_seq
from mnist_seq.data import sources
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.inference.locate import locate_digits
from mnist_seq.inference.reader import Reader
from tests.data.preset_configs import preset


@pytest.mark.parametrize(("name", "share"), [("line", 0.85), ("grid", 0.99), ("scatter_96", 0.95)])
def test_digits_are_located_nearer_to_their_own_centre_than_to_another(name: str, share: float) -> None:
    scenes = SyntheticDataset(preset(name, "data/corruptions=none"), sources.load("uci").pools["val"])[:200]
    found = locate_digits(mnist_seq.load(f"pretrained:{name}").model, scenes.images / 255, scenes.digits)
    present = torch.arange(scenes.digits.shape[1]) < scenes.counts[:, None]
    centres = (scenes.boxes[..., :2] + scenes.boxes[..., 2:]).float() / 2
    distances = torch.cdist(found, centres).masked_fill(~present[:, None], torch.inf)
    own = distances.argmin(-1) == torch.arange(distances.shape[-1])
    assert float(own[present].float().mean()) > share


def test_positions_are_pixels_of_the_picture_row_by_row() -> None:
    """Three sevens on a page, 60 pixels tall: two in a row, and one below."""
    reader, page = mnist_seq.load("pretrained:line"), np.zeros((320, 340), np.uint8)
    seven = np.zeros((60, 40), np.uint8)
    seven[:8], seven[:, 30:38] = 255, 255
    centres = ((120, 80), (190, 80), (155, 240))
    for x, y in centres:
        page[y - 30 : y + 30, x - 20 : x + 20] = seven
    reading, plain = reader.read(page, locate=True), reader.read(page)
    assert reading.digits == plain.digits == [7, 7, 7]
    assert plain.positions == []
    assert reading.positions == [*reading.rows[0].positions, *reading.rows[1].positions]
    for (x, y), expected in zip(reading.positions, centres, strict=True):
        assert abs(x - expected[0]) < 30, (x, expected)
        assert abs(y - expected[1]) < 30, (y, expected)


def test_readings_have_the_position_of_every_digit_or_none() -> None:
    """Alternatives of the beam search are not located, nor what is put together of them."""
    scenes = SyntheticDataset(preset("line", "data.min_digits=1"), sources.load("uci").pools["val"])[:6].images[:, 0]
    pages = [torch.cat([scenes[index], scenes[index + 1]]).numpy() for index in range(5)]
    readings = mnist_seq.load("pretrained:line").read(pages, num_beams=3, locate=True)
    assert any(len(reading.rows) > 1 and reading.digits for reading in readings)
    for reading in readings:
        assert len(reading.positions) == len(reading.digits)
        assert {len(it.positions) for it in reading.alternatives} <= {0}


def test_picture_without_ink_has_no_positions() -> None:
    assert mnist_seq.load("pretrained:line").read(np.zeros((50, 50), np.uint8), locate=True).positions == []


def test_classifier_is_refused() -> None:
    module, _ = mnist_seq.build("model=classifier", "data=grid", "data.digits=uci")
    with pytest.raises(ValueError, match="locate=True: this model has no cross-attention"):
        Reader(module.model, {}).read(np.full((56, 56), 255, np.uint8) * (np.arange(56) < 20), locate=True)
