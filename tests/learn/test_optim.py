from itertools import pairwise

import pytest
import torch

from mnist_seq.config import OptimConfig, Spec
from mnist_seq.data.sets import Synthesised
from mnist_seq.learn import optim
from mnist_seq.learn.losses import LOSSES
from mnist_seq.nn import build
from tests.conftest import tiny_models

MODELS = tiny_models()


@pytest.mark.parametrize("name", MODELS)
def test_norms_biases_and_positions_are_not_decayed(name: str) -> None:
    model = build(MODELS[name], Spec(56, 56, 4, (2, 2)))
    decayed, others = optim.adamw(model, OptimConfig(weight_decay=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert others["weight_decay"] == 0
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    for weight in decayed["params"]:
        assert names[id(weight)].endswith(".weight")
        assert "norm" not in names[id(weight)]
    assert {"patches.position"} <= {names[id(weight)] for weight in others["params"]}


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_rate_warms_up_peaks_and_decays(schedule: str) -> None:
    config = OptimConfig(warmup_steps=10, schedule=schedule, final_lr=0.1)
    shares = [optim.share_of_peak(config, step, 100) for step in range(101)]
    assert shares[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert shares[10] == max(shares) == 1
    assert all(later <= earlier for earlier, later in pairwise(shares[10:]))
    assert shares[100] == pytest.approx(1 if schedule == "constant" else 0.1)


@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_learnt_by_heart(name: str, grids: Synthesised) -> None:
    torch.manual_seed(0)
    model, scenes = build(MODELS[name], grids.spec), grids[:8]
    optimizer = optim.adamw(model, OptimConfig(lr=1e-2))
    for _ in range(150):
        optimizer.zero_grad()
        LOSSES[name](model, scenes, 0.0).loss.backward()
        optimizer.step()
    readout = model.eval().read(scenes.images)
    assert torch.equal(readout.digits, scenes.digits)
    assert readout.ended.all()
