"""Every model preset with every data preset."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import mnist_seq
from mnist_seq import nn
from mnist_seq.config import config_store
from mnist_seq.nn.losses import compute_loss
from tests.conftest import TINY
from tests.data.preset_configs import PRESETS
from tests.training.test_fit import rows

MODEL_PRESETS = [name for name in config_store.preset_names("model") if name != "custom"]


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("data", PRESETS)
@pytest.mark.parametrize("model", MODEL_PRESETS)
def test_every_model_takes_a_step_on_every_data_preset(model: str, data: str, precision: str) -> None:
    """The classifier refuses scenes in which digits can share a cell."""
    config = mnist_seq.compose(f"model={model}", f"data={data}", *TINY)
    spec = config.data.spec
    output_type = getattr(nn.MODELS[config.model.name], "output_type", None)
    if output_type == "cells" and spec.cells == (0, 0):
        with pytest.raises(ValueError, match="choose model=enc_dec"):
            nn.build(config.model, spec)
        return
    built = nn.build(config.model, spec)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        out = compute_loss(built, mnist_seq.scenes(data, "data.digits=uci")[:8], config.loss)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in built.parameters())


@pytest.mark.parametrize(
    ("model", "data"),
    [("enc_dec", "mixed"), ("classifier", "scatter"), ("classifier", "string"), ("enc_dec", "single")],
)
def test_runs_on_other_data_train_and_load(model: str, data: str, tmp_path: Path) -> None:
    run = mnist_seq.fit(f"model={model}", f"data={data}", *TINY, "trainer.max_steps=3", f"hydra.run.dir={tmp_path}/r")
    losses = [float(row["train/loss"]) for row in rows(run) if row["train/loss"]]
    assert all(map(math.isfinite, losses))
    assert mnist_seq.load(run.path).model.spec == mnist_seq.scenes(data, "data.digits=uci").spec
