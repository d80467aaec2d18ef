"""What we are timed against draws the same kind of scenes."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import default_collate

from mnist_seq.benchmarks.baseline_loader import PerSampleDataset
from mnist_seq.benchmarks.rendering import PRESETS
from mnist_seq.data.render import render
from tests.data.preset_configs import pool, preset

SCENES = 1200


@pytest.mark.parametrize("distorted", [False, True], ids=["plain", "light"])
@pytest.mark.parametrize("name", PRESETS)
def test_a_rival_draws_the_same_kind_of_scenes(name: str, distorted: bool) -> None:
    config = preset(name, "data/augment=light") if distorted else preset(name)
    torch.manual_seed(0)
    rival = PerSampleDataset(config, pool("train"), SCENES, distorted)
    images, digits = default_collate([rival[index] for index in range(SCENES)])
    ours = render(torch.arange(SCENES), config, pool("train"), 0, distorted)

    for theirs, mine in ((digits, ours.digits), (images, ours.images)):
        assert (theirs.shape, theirs.dtype) == (mine.shape, mine.dtype)
        few, many = theirs.double().flatten(1).mean(1), mine.double().flatten(1).mean(1)
        error = ((few.var() + many.var()) / SCENES).sqrt()
        assert (few.mean() - many.mean()).abs() <= 4 * error + 0.02 * many.mean()
