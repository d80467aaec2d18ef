"""Whole runs of a second each, in this process."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import mnist_seq
from mnist_seq.errors import DivergedError
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.training import hardware, rng_state
from mnist_seq.training.module import ReaderModule
from tests.conftest import TINY

TIMINGS = {"train/scenes_per_second"}


def rows(run: Run) -> list[dict[str, str]]:
    with run.metrics_csv.open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMINGS} for row in csv.DictReader(file)]


def test_run_directory_is_self_sufficient(tiny_run: Run) -> None:
    for path in ("config.yaml", "metrics.json", "metrics.csv", "run.log", "weights.safetensors", "model.json"):
        assert (tiny_run.path / path).stat().st_size > 0
    assert {path.name for path in tiny_run.plots.iterdir()} == {"curves.png", "samples.png", "confusion.png"}
    assert {path.name for path in tiny_run.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
    metrics = tiny_run.metrics
    assert metrics["digits"] == "uci"
    assert "NOT MNIST" in metrics["notice"]
    assert metrics["steps"] == 12
    assert metrics["parameters"] == sum(weight.numel() for weight in weights.load(tiny_run.path)[0].parameters())
    assert {"seed", "versions", "revision", "device", "seconds", "scenes_per_second", "val"} <= metrics.keys()
    low, high = metrics["val"]["exact_match_interval"]
    assert low <= metrics["val"]["exact_match"] <= high
    assert tiny_run.config.data.digits == "uci"
    assert [row["step"] for row in rows(tiny_run) if row["val/loss"]] == ["5", "10", "12"]


def test_evaluate_equals_the_validation_of_training(tiny_run: Run) -> None:
    from mnist_seq.config import EvaluateConfig
    from mnist_seq.evaluation.evaluator import load_evaluator

    last = [row for row in rows(tiny_run) if row["val/loss"]][-1]
    for path in (tiny_run.path, tiny_run.last_checkpoint, tiny_run.weights):
        evaluator = load_evaluator(EvaluateConfig(run=str(path), batch_size=33))
        assert evaluator.datasets.source == "uci"
        result = evaluator.evaluate()
        for name in ("exact_match", "digit_accuracy", "count_accuracy"):
            assert result.metrics[name].value == pytest.approx(float(last[f"val/{name}"]), abs=1e-7)
            assert result.metrics[name].value == tiny_run.metrics["val"][name]
        assert result.predictions.loss == pytest.approx(float(last["val/loss"]), rel=1e-5)


def test_checkpoint_loads_weights_only_and_has_the_rng_states(tiny_run: Run) -> None:
    checkpoint = torch.load(tiny_run.last_checkpoint, weights_only=True)
    state = checkpoint["callbacks"]["ResumableCheckpoint"]["random"][0]
    rng_state.set_rng_states(state)
    again = rng_state.get_rng_states()
    assert torch.equal(again["torch"], state["torch"])
    assert again["python"] == state["python"]
    assert torch.equal(again["numpy"][1], state["numpy"][1])


def test_infinite_loss_stops_training_without_a_bad_checkpoint(tmp_path: Path) -> None:
    overrides = (
        *TINY,
        "trainer.max_steps=40",
        "optim.lr=1e30",
        "optim.warmup_steps=0",
        "trainer.gradient_clip_val=null",
    )
    with pytest.raises(DivergedError, match=r"NaN or infinite.*nothing was saved yet.*optim.lr"):
        mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run/checkpoints/last.ckpt").exists()


def test_averaged_weights_are_the_final_weights(tmp_path: Path) -> None:
    run = mnist_seq.fit(*TINY, "callbacks=ema", f"hydra.run.dir={tmp_path / 'run'}")
    checkpoint = weights.load_checkpoint(run.last_checkpoint)
    kept, _ = weights.load(run.path)
    for name, weight in kept.state_dict().items():
        assert torch.equal(weight, checkpoint["state_dict"][f"model.{name}"])
    current = checkpoint["current_model_state"]
    assert any(not torch.equal(weight, checkpoint["state_dict"][name]) for name, weight in current.items())


def test_early_stopping_ends_a_run_that_does_not_improve(tmp_path: Path) -> None:
    overrides = (*TINY, "callbacks=early_stopping", "callbacks.early_stopping.patience=1", "optim.lr=1e-9")
    run = mnist_seq.fit(*overrides, "trainer.max_steps=60", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["steps"] == 10


def test_full_pool_has_no_val_and_keeps_the_last_weights(tmp_path: Path) -> None:
    overrides = (*TINY, "data.pool=full", "callbacks=ema")
    run = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert "val" not in run.metrics
    assert run.weights.exists()
    assert weights.load_checkpoint(run.last_checkpoint)["global_step"] == 12


def test_training_can_end_by_the_clock_with_a_constant_learning_rate(tmp_path: Path) -> None:
    clock = (*TINY, "trainer.max_steps=null", "+trainer.max_time=00:00:00:02", f"hydra.run.dir={tmp_path / 'run'}")
    with pytest.raises(ValueError, match="optim.schedule=linear needs a last step, and this run has none: set"):
        mnist_seq.fit(*clock)
    assert mnist_seq.fit(*clock, "optim.schedule=constant").metrics["steps"] > 0


def test_directory_without_a_checkpoint_can_be_used_again(tmp_path: Path) -> None:
    first = Run(tmp_path / "run")
    first.create(mnist_seq.compose(*TINY))
    assert mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'run'}").metrics["steps"] == 12


def test_module_and_data_work_in_a_plain_trainer(tmp_path: Path, grids: Any) -> None:
    module, data = mnist_seq.build("model=classifier", "data=single", *TINY)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=1, limit_train_batches=3, default_root_dir=tmp_path, **quiet)
    trainer.fit(module, data)
    assert trainer.global_step == 3
    assert "val/exact_match" in trainer.callback_metrics
    assert "test/exact_match" in trainer.test(module, data, verbose=False)[0]


def test_arguments_of_lightnings_trainer_pass_through(tmp_path: Path) -> None:
    passed = ("+trainer.limit_val_batches=1", "+trainer.gradient_clip_algorithm=value")
    run = mnist_seq.fit(*TINY, *passed, f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["steps"] == 12
    assert run.config.trainer.lightning_kwargs()["gradient_clip_algorithm"] == "value"
    with pytest.raises(ValueError, match=r"trainer.speed is not an argument"):
        mnist_seq.fit(*TINY, "+trainer.speed=9", f"hydra.run.dir={tmp_path / 'other'}")
    with pytest.raises(ValueError, match=r"callbacks.mine cannot be built"):
        mnist_seq.fit(*TINY, "+callbacks.mine._target_=no.such.Thing", f"hydra.run.dir={tmp_path / 'third'}")


def test_auto_settings_are_resolved_and_explicit_ones_kept() -> None:
    resolved = hardware.resolve_auto(mnist_seq.compose("trainer.max_steps=7", "+trainer.profiler=simple").trainer)
    assert resolved.preset in ("cpu", "gpu", "mps")
    assert resolved.max_steps == 7
    assert resolved.lightning_kwargs()["profiler"] == "simple"
    assert resolved.precision is not None
    assert resolved.matmul_precision in ("highest", "high", "medium")


def test_log_file_has_the_run_header_and_no_handler_is_left(tiny_run: Run) -> None:
    assert "max_steps=12" in tiny_run.log.read_text()
    assert not any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger("mnist_seq").handlers)
    assert json.loads((tiny_run.path / "model.json").read_text())["digits"] == "uci"


def test_an_accumulated_step_is_measured_and_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its last batch ends, not after each of them."""
    measured, log = [], ReaderModule.log

    def record(module: ReaderModule, name: str, *args: Any, **options: Any) -> None:
        if name == "train/scenes_per_second":
            measured.append(module.global_step)
        log(module, name, *args, **options)

    monkeypatch.setattr(ReaderModule, "log", record)
    accumulated = ("+trainer.accumulate_grad_batches=3", "trainer.max_steps=6", "trainer.val_check_interval=6")
    mnist_seq.fit(*TINY, *accumulated, f"hydra.run.dir={tmp_path / 'run'}")
    assert measured == [2, 4, 6]
