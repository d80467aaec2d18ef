"""Weights from one model to another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mnist_seq
from mnist_seq.config import Spec
from mnist_seq.inference import weights
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from tests.conftest import TINY, stirred, tiny_models

MODELS = tiny_models()
SINGLE, GRID = Spec(28, 28, 1, (1, 1)), Spec(56, 56, 4, (2, 2))


def test_what_matches_is_taken_and_what_does_not_is_told(tmp_path: Path) -> None:
    """An encoder that learnt single digits, in a model for grids."""
    source = stirred(build(MODELS["classifier"], SINGLE))
    weights.save(source, tmp_path / "weights.safetensors")
    model = build(MODELS["enc_dec"], GRID)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    transfer = weights.load_matching(model, tmp_path)
    theirs, ours = source.state_dict(), model.state_dict()
    assert "encoder.blocks.0.attention.q_proj.weight" in transfer.loaded_keys
    assert all(torch.equal(ours[name], theirs[name]) for name in transfer.loaded_keys)
    assert all(torch.equal(ours[name], before[name]) for name in transfer.skipped_keys)
    assert transfer.skipped_keys["encoder.pos_embed.table"] == "4x16 there, 16x16 here"
    assert transfer.skipped_keys["to_logits.weight"] == "not there"
    assert transfer.config_differences == {"name": "classifier there, enc_dec here"}
    assert sorted([*transfer.loaded_keys, *transfer.skipped_keys]) == sorted(ours)
    taken = sum(ours[name].numel() for name in transfer.loaded_keys)
    assert transfer.loaded_fraction == pytest.approx(taken / sum(map(torch.numel, ours.values())))


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    weights.save(build(MODELS["classifier"], SINGLE), tmp_path / "weights.safetensors")
    other = build(replace(MODELS["enc_dec"], dim=24, num_heads=2), GRID)
    with pytest.raises(ValueError, match="no weight there has the name and shape"):
        weights.load_matching(other, tmp_path)


@pytest.mark.parametrize(("taught", "pool"), [("uci", "full"), ("mnist", "split"), ("mnist", "full")])
def test_no_run_validates_on_digits_that_the_reader_it_begins_with_has_learnt(
    taught: str, pool: str, tmp_path: Path
) -> None:
    spec = mnist_seq.compose("data=single", "data.digits=uci").data.spec
    path = tmp_path / "weights.safetensors"
    weights.save(build(MODELS["enc_dec"], spec), path, trained_on_val=[taught])
    begin = (*TINY, "data=single", f"init_from={tmp_path}")
    module, _ = mnist_seq.build(*begin, f"data.pool={pool}")
    assert module.trained_on_val == sorted({taught} | ({"uci"} if pool == "full" else set()))
    weights.save(build(MODELS["enc_dec"], spec), path, trained_on_val=["mnist", "uci"])
    with pytest.raises(ValueError, match="trained on the val digits too .*: choose data.pool=full, or a model"):
        mnist_seq.build(*begin)


def test_a_run_begins_with_the_weights_of_another_and_resumes_without_them(tiny_run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "first"
    copy.mkdir()
    weights.save(weights.load(tiny_run.path)[0], copy / "weights.safetensors", trained_on_val=["mnist"])
    module, _ = mnist_seq.build("model=enc_dec", "data=grid", *TINY, f"init_from={copy}")
    assert f"100% of the weights are from {copy}" in str(module.init_report)
    for mine, theirs in zip(module.model.parameters(), weights.load(tiny_run.path)[0].parameters(), strict=True):
        assert torch.equal(mine, theirs)
    run = mnist_seq.fit("data=grid", *TINY, f"init_from={copy}", "trainer.max_steps=2", f"hydra.run.dir={tmp_path}/run")
    assert "100% of the weights are from" in run.log.read_text()
    assert run.metrics["init_from"]["loaded_fraction"] == 1
    for part in copy.iterdir():
        part.unlink()
    resumed = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=4")
    assert resumed.metrics["steps"] == 4
    assert weights.load(resumed.path)[1]["trained_on_val"] == ["mnist"], "whose val digits were learnt is passed on"
