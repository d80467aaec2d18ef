"""`init_from`: weights of another model are loaded as far as they match, and nothing leaks from val."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mnist_seq
from mnist_seq.config import Spec
from mnist_seq.inference import weights
from mnist_seq.inference.init_from import load_matching
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from tests.conftest import TINY, stirred, tiny_models

MODELS = tiny_models()
SINGLE, GRID = Spec(28, 28, 1, (1, 1)), Spec(56, 56, 4, (2, 2))


def test_matching_weights_are_loaded_and_all_others_are_reported(tmp_path: Path) -> None:
    """An encoder trained on single digits, in a model for grids."""
    source = stirred(build(MODELS["classifier"], SINGLE))
    weights.save(source, tmp_path / "weights.safetensors")
    model = build(MODELS["enc_dec"], GRID)
    initial_state = {name: weight.clone() for name, weight in model.state_dict().items()}
    report = load_matching(model, tmp_path)
    source_state, state = source.state_dict(), model.state_dict()
    assert "encoder.blocks.0.attention.q_proj.weight" in report.loaded_keys
    assert all(torch.equal(state[name], source_state[name]) for name in report.loaded_keys)
    assert all(torch.equal(state[name], initial_state[name]) for name in report.skipped_keys)
    assert report.skipped_keys["encoder.pos_embed.table"] == "4x16 there, 16x16 here"
    assert report.skipped_keys["lm_head.weight"] == "not there"
    assert report.config_differences == {"name": "classifier there, enc_dec here"}
    assert sorted([*report.loaded_keys, *report.skipped_keys]) == sorted(state)
    num_loaded = sum(state[name].numel() for name in report.loaded_keys)
    assert report.loaded_fraction == pytest.approx(num_loaded / sum(map(torch.numel, state.values())))


@pytest.mark.parametrize("pos_embed", ["learned", "factorised"])
@pytest.mark.parametrize(("source_length", "own_length"), [(3, 5), (5, 3)])
def test_decoder_for_other_lengths_keeps_the_positions_that_both_have(
    source_length: int, own_length: int, pos_embed: str, tmp_path: Path
) -> None:
    config = replace(MODELS["enc_dec"], pos_embed=pos_embed)
    source, model = (build(config, Spec(28, 84, length, (0, 0))) for length in (source_length, own_length))
    weights.save(stirred(source), tmp_path / "weights.safetensors")
    initial_state = {name: weight.clone() for name, weight in model.state_dict().items()}
    report = load_matching(model, tmp_path)
    (name,) = (name for name in initial_state if name.startswith("pos_embed.table"))
    table, common = model.state_dict()[name], min(source_length, own_length) + 1
    assert torch.equal(table[:common], source.state_dict()[name][:common])
    assert torch.equal(table[common:], initial_state[name][common:])
    assert name in report.loaded_keys
    assert set(report.skipped_keys) == ({f"{name}[4:]"} if own_length > source_length else set())
    num_new = len(table[common:]) * table.shape[1]
    assert report.loaded_fraction == pytest.approx(1 - num_new / sum(map(torch.numel, initial_state.values())))


@pytest.mark.parametrize(
    ("trained", "seconds"),
    [
        ({"seconds": 60.0}, 60),
        ({"seconds": 60.0, "init_from": "pretrained:grid", "pretraining_seconds": 40.0}, 100),
        ({"seconds": 60.0, "init_from": "outputs/mine", "pretraining_seconds": None}, None),
        ({}, None),
    ],
)
def test_training_time_adds_up_over_all_models_that_one_was_initialized_from(
    trained: dict[str, object], seconds: float | None, tmp_path: Path
) -> None:
    """Whatever a name such as pretrained:grid stands for later."""
    source = stirred(build(MODELS["enc_dec"], GRID))
    weights.save(source, tmp_path / "weights.safetensors", trained=trained)
    assert load_matching(build(MODELS["enc_dec"], GRID), tmp_path).pretraining_seconds == seconds


def test_training_time_of_a_run_is_known(tiny_run: Run, tmp_path: Path) -> None:
    run = mnist_seq.fit(*TINY, "trainer.max_steps=2", f"init_from={tiny_run.path}", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["init_from"]["pretraining_seconds"] == tiny_run.metrics["seconds"]
    assert load_matching(build(MODELS["enc_dec"], GRID), run.path).pretraining_seconds == pytest.approx(
        run.metrics["seconds"] + tiny_run.metrics["seconds"]
    )


def test_model_without_matching_weights_is_rejected(tmp_path: Path) -> None:
    weights.save(build(MODELS["classifier"], SINGLE), tmp_path / "weights.safetensors")
    other = build(replace(MODELS["enc_dec"], dim=24, num_heads=2), GRID)
    with pytest.raises(ValueError, match="none of its weights matches this model in name and shape"):
        load_matching(other, tmp_path)


@pytest.mark.parametrize(("source", "pool"), [("uci", "full"), ("mnist", "split"), ("mnist", "full")])
def test_run_never_validates_on_digits_that_its_initial_weights_were_trained_on(
    source: str, pool: str, tmp_path: Path
) -> None:
    spec = mnist_seq.compose("data=single", "data.digits=uci").data.spec
    path = tmp_path / "weights.safetensors"
    weights.save(build(MODELS["enc_dec"], spec), path, trained_on_val=[source])
    overrides = (*TINY, "data=single", f"init_from={tmp_path}")
    module, _ = mnist_seq.build(*overrides, f"data.pool={pool}")
    assert module.trained_on["trained_on_val"] == sorted({source} | ({"uci"} if pool == "full" else set()))
    weights.save(build(MODELS["enc_dec"], spec), path, trained_on_val=["mnist", "uci"])
    with pytest.raises(ValueError, match="val digits too .*: choose data.pool=full"):
        mnist_seq.build(*overrides)


def test_run_starts_from_the_weights_of_another_and_resumes_without_them(tiny_run: Run, tmp_path: Path) -> None:
    source = tmp_path / "first"
    source.mkdir()
    weights.save(weights.load(tiny_run.path)[0], source / "weights.safetensors", trained_on_val=["mnist"])
    module, _ = mnist_seq.build("model=enc_dec", "data=grid", *TINY, f"init_from={source}")
    assert f"100% of the weights are from {source}" in str(module.init_report)
    for weight, expected in zip(module.model.parameters(), weights.load(tiny_run.path)[0].parameters(), strict=True):
        assert torch.equal(weight, expected)
    run_dir = tmp_path / "run"
    run = mnist_seq.fit("data=grid", *TINY, f"init_from={source}", "trainer.max_steps=2", f"hydra.run.dir={run_dir}")
    assert "100% of the weights are from" in run.log.read_text()
    assert run.metrics["init_from"]["loaded_fraction"] == 1
    for path in source.iterdir():
        path.unlink()
    resumed = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=4")
    assert resumed.metrics["steps"] == 4
    assert weights.load(resumed.path)[1]["trained_on_val"] == ["mnist"], "trained_on_val is passed on"
