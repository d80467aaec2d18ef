"""Whole trainings of a second each, in this process."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

import mnist_seq
from mnist_seq import train
from mnist_seq.errors import DivergedError, Interrupted
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.training import callbacks, checkpoints, hardware
from tests.conftest import TINY

TIMINGS = {"train/scenes_per_second"}


def rows(run: Run) -> list[dict[str, str]]:
    with run.metrics_csv.open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMINGS} for row in csv.DictReader(file)]


def same(one: Run, other: Run) -> None:
    """Equal to the bit, timings apart."""
    assert one.weights.read_bytes() == other.weights.read_bytes()
    assert rows(one) == rows(other)
    for name in ("val", "steps", "parameters", "seed", "digits"):
        assert one.metrics[name] == other.metrics[name]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps after which a signal arrives, one a training."""
    steps: list[int] = []

    class Signalled(checkpoints.StopOnSignal):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if steps and trainer.global_step == steps[0]:
                self._handle_signal(steps.pop(0) and 15, None)

    monkeypatch.setattr(checkpoints, "StopOnSignal", Signalled)
    return steps


@pytest.mark.parametrize(
    "extra",
    [
        ("model.dropout=0.2",),
        ("callbacks=ema", "optim=muon"),
        ("+trainer.accumulate_grad_batches=3", "trainer.val_check_interval=6", "data.num_train_scenes=900"),
        ("data.num_train_scenes=450", "loss=multiset", "data=scatter", "data.order=set", "data.order_margin=0"),
    ],
    ids=["dropout", "ema and muon", "accumulated", "fixed and shuffled"],
)
def test_resumed_equals_uninterrupted_to_the_bit(tmp_path: Path, stop: list[int], extra: tuple[str, ...]) -> None:
    """Stopped between validations, at one (5), within an epoch and at its end (every 3 steps)."""
    overrides = (*TINY, "data.batch_size=399", *extra)
    whole = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'whole'}")
    begin: tuple[str, ...] = (*overrides, f"hydra.run.dir={tmp_path / 'parts'}")
    for step in (3, 5, 8, 9, 11):
        stop[:] = [step]
        with pytest.raises(Interrupted, match=f"after step {step}.*resume="):
            mnist_seq.fit(*begin)
        begin = (f"resume={tmp_path / 'parts'}",)
    same(mnist_seq.fit(*begin), whole)


def test_a_signal_that_comes_during_the_last_step_is_not_lost(tmp_path: Path, stop: list[int]) -> None:
    stop[:] = [12]
    with pytest.raises(Interrupted, match="after step 12, which is saved.*resume="):
        mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'run'}")
    assert weights.load_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["global_step"] == 12
    assert mnist_seq.fit(f"resume={tmp_path / 'run'}").finished


def test_a_signal_that_comes_while_ranks_agree_is_for_the_next_step(tmp_path: Path) -> None:
    """It was told to one rank alone: if that one left now, the other would wait for it."""
    saved: list[int] = []
    stop = checkpoints.StopOnSignal(Run(tmp_path), SimpleNamespace(save_between_steps=lambda it: saved.append(1)))  # type: ignore[arg-type]

    def agree(decision: bool, all: bool) -> bool:
        stop._handle_signal(15, None)
        return decision

    ranks: Any = SimpleNamespace(reduce_boolean_decision=agree)
    trainer: Any = SimpleNamespace(accumulate_grad_batches=1, world_size=2, global_step=3, strategy=ranks)
    stop.on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
    assert not saved
    with pytest.raises(Interrupted, match="SIGTERM after step 3"):
        stop.on_train_batch_start(trainer, None, None, 1)  # type: ignore[arg-type]
    assert saved


def test_the_time_of_a_run_that_was_broken_off_counts(tmp_path: Path, stop: list[int]) -> None:
    begin: tuple[str, ...] = (*TINY, f"hydra.run.dir={tmp_path / 'run'}")
    for step in (3, 7):
        stop[:] = [step]
        with pytest.raises(Interrupted):
            mnist_seq.fit(*begin)
        begin = (f"resume={tmp_path / 'run'}",)
        last = tmp_path / "run/checkpoints/last.ckpt"
        checkpoint = weights.load_checkpoint(last)
        assert checkpoint["callbacks"]["Throughput"]["spent"] > (0 if step == 3 else 1000)
        checkpoint["callbacks"]["Throughput"]["spent"] += 1000
        torch.save(checkpoint, last)
    assert 2000 < mnist_seq.fit(*begin).metrics["seconds"] < 3000


def test_rows_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    """As a kill between two checkpoints leaves them: later rows, and a last one cut short."""
    first = mnist_seq.fit(*TINY, "trainer.max_steps=5", f"hydra.run.dir={tmp_path / 'run'}")
    commas = first.metrics_csv.read_text().splitlines()[0].count(",")
    with first.metrics_csv.open("a") as table:
        table.write(f"6,777.25{',' * (commas - 1)}\n8,777.25,9")
    longer = mnist_seq.fit(f"resume={first.path}", "trainer.max_steps=12")
    assert [row["step"] for row in rows(longer)] == ["2", "4", "5", "5", "6", "8", "10", "10", "12", "12"]
    assert longer.metrics["steps"] == 12
    assert "777.25" not in longer.metrics_csv.read_text()


def test_a_moved_run_goes_on_and_keeps_its_best(tmp_path: Path) -> None:
    run = mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'here'}")
    best = run.best_checkpoint.read_bytes()
    run.path.rename(tmp_path / "there")
    checkpoint = weights.load_checkpoint(tmp_path / "there/checkpoints/last.ckpt")
    checkpoint["callbacks"]["ResumableCheckpoint"]["best"] = 1.0
    torch.save(checkpoint, tmp_path / "there/checkpoints/last.ckpt")
    again = mnist_seq.fit(f"resume={tmp_path / 'there'}", "trainer.max_steps=15")
    assert again.metrics["steps"] == 15
    assert again.best_checkpoint.read_bytes() == best


def test_only_steps_and_loggers_may_change_on_resuming(tiny_run: Run) -> None:
    before = {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()}
    for override in ("optim.lr=1", "seed=3", "model=classifier"):
        with pytest.raises(ValueError, match=f"{override}.*only trainer.max_steps and logger"):
            mnist_seq.fit(f"resume={tiny_run.path}", override)
    with pytest.raises(ValueError, match="already holds a run"):
        mnist_seq.fit(*TINY, f"hydra.run.dir={tiny_run.path}")
    assert before == {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()}


def test_a_run_directory_holds_all_there_is_to_know(tiny_run: Run) -> None:
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


def test_what_training_reported_on_val_is_what_evaluate_finds(tiny_run: Run) -> None:
    from mnist_seq.config import EvaluateConfig
    from mnist_seq.evaluation.evaluator import load_evaluator

    last = [row for row in rows(tiny_run) if row["val/loss"]][-1]
    for path in (tiny_run.path, tiny_run.last_checkpoint, tiny_run.weights):
        asked = load_evaluator(EvaluateConfig(run=str(path), batch_size=33))
        assert asked.datasets.source == "uci"
        judgement = asked.evaluate()
        for name in ("exact_match", "digit_accuracy", "count_accuracy"):
            assert judgement.metrics[name].value == pytest.approx(float(last[f"val/{name}"]), abs=1e-7)
            assert judgement.metrics[name].value == tiny_run.metrics["val"][name]
        assert judgement.predictions.loss == pytest.approx(float(last["val/loss"]), rel=1e-5)


def test_a_checkpoint_is_plain_and_holds_the_random_states(tiny_run: Run) -> None:
    checkpoint = torch.load(tiny_run.last_checkpoint, weights_only=True)
    state = checkpoint["callbacks"]["ResumableCheckpoint"]["random"]
    checkpoints.set_rng_states(state)
    again = checkpoints.get_rng_states()
    assert torch.equal(again["torch"], state["torch"])
    assert again["python"] == state["python"]
    assert torch.equal(again["numpy"][1], state["numpy"][1])


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    overrides = (
        *TINY,
        "trainer.max_steps=40",
        "optim.lr=1e30",
        "optim.warmup_steps=0",
        "trainer.gradient_clip_val=null",
    )
    with pytest.raises(DivergedError, match=r"not finite.*nothing was saved yet.*optim.lr"):
        mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run/checkpoints/last.ckpt").exists()


def test_the_average_of_the_weights_is_what_counts(tmp_path: Path) -> None:
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


def test_a_full_pool_has_no_val_and_keeps_the_last_weights(tmp_path: Path) -> None:
    overrides = (*TINY, "data.pool=full", "callbacks=ema")
    run = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert "val" not in run.metrics
    assert run.weights.exists()
    assert weights.load_checkpoint(run.last_checkpoint)["global_step"] == 12


def test_a_run_without_val_is_saved_on_the_way_and_resumed_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after step 8 leaves the checkpoint of step 5."""
    overrides = (*TINY, "data.pool=full", "data.batch_size=399", "model.dropout=0.2")
    whole = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'whole'}")

    def crash(self: Any, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 8:
            raise RuntimeError("crash")

    with monkeypatch.context() as broken:
        broken.setattr(callbacks.LogPredictions, "on_train_batch_end", crash, raising=False)
        with pytest.raises(RuntimeError, match="crash"):
            mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'parts'}")
    assert weights.load_checkpoint(tmp_path / "parts/checkpoints/last.ckpt")["global_step"] == 5
    resumed = mnist_seq.fit(f"resume={tmp_path / 'parts'}")
    assert resumed.weights.read_bytes() == whole.weights.read_bytes()
    assert rows(resumed) == rows(whole)


def test_a_finished_run_that_is_resumed_ends_with_the_same_weights_and_figures(tmp_path: Path) -> None:
    """As after a kill between the last checkpoint and the end; the average still counts."""
    run = mnist_seq.fit(*TINY, "callbacks=ema", f"hydra.run.dir={tmp_path / 'run'}")
    kept, before, table = run.weights.read_bytes(), run.metrics, rows(run)
    run.weights.unlink()
    again = mnist_seq.fit(f"resume={run.path}")
    assert again.weights.read_bytes() == kept
    assert again.metrics == before
    assert rows(again) == table


def test_a_run_stopped_at_what_then_is_its_last_step_is_finished(tmp_path: Path) -> None:
    """Its training was broken off, so nothing of it was recorded."""
    run = mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'run'}")
    run.weights.unlink()
    begun = {key: run.metrics[key] for key in ("id", "overrides", "seed")}
    (run.path / "metrics.json").write_text(json.dumps(begun))
    again = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=12")
    assert again.finished
    assert (again.metrics["steps"], again.metrics["scenes_per_second"]) == (12, 0)
    train.print_summary(again)


def test_training_may_end_by_the_clock_where_the_rate_needs_no_end(tmp_path: Path) -> None:
    clock = (*TINY, "trainer.max_steps=null", "+trainer.max_time=00:00:00:02", f"hydra.run.dir={tmp_path / 'run'}")
    with pytest.raises(ValueError, match="optim.schedule=linear ends with the last step, and there is none: give"):
        mnist_seq.fit(*clock)
    assert mnist_seq.fit(*clock, "optim.schedule=constant").metrics["steps"] > 0


def test_a_directory_in_which_nothing_was_saved_can_be_used_again(tmp_path: Path) -> None:
    first = Run(tmp_path / "run")
    first.create(mnist_seq.compose(*TINY))
    assert mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'run'}").metrics["steps"] == 12


def test_the_modules_work_in_a_plain_trainer(tmp_path: Path, grids: Any) -> None:
    module, data = mnist_seq.build("model=classifier", "data=single", *TINY)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = L.Trainer(max_epochs=1, limit_train_batches=3, default_root_dir=tmp_path, **quiet)
    trainer.fit(module, data)
    assert trainer.global_step == 3
    assert "val/exact_match" in trainer.callback_metrics
    assert "test/exact_match" in trainer.test(module, data, verbose=False)[0]


def test_any_argument_of_lightnings_trainer_passes_through(tmp_path: Path) -> None:
    passed = ("+trainer.limit_val_batches=1", "+trainer.gradient_clip_algorithm=value")
    run = mnist_seq.fit(*TINY, *passed, f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["steps"] == 12
    assert run.config.trainer.lightning_kwargs()["gradient_clip_algorithm"] == "value"
    with pytest.raises(ValueError, match=r"trainer.speed is no argument"):
        mnist_seq.fit(*TINY, "+trainer.speed=9", f"hydra.run.dir={tmp_path / 'other'}")
    with pytest.raises(ValueError, match=r"callbacks.mine cannot be built"):
        mnist_seq.fit(*TINY, "+callbacks.mine._target_=no.such.Thing", f"hydra.run.dir={tmp_path / 'third'}")


def test_what_auto_picks_is_recorded_and_what_is_set_stays() -> None:
    picked = hardware.resolve_auto(mnist_seq.compose("trainer.max_steps=7", "+trainer.profiler=simple").trainer)
    assert picked.preset in ("cpu", "gpu", "mps")
    assert picked.max_steps == 7
    assert picked.lightning_kwargs()["profiler"] == "simple"
    assert picked.precision is not None
    assert picked.matmul_precision in ("highest", "high", "medium")


def test_the_log_keeps_what_was_said(tiny_run: Run) -> None:
    assert "max_steps=12" in tiny_run.log.read_text()
    assert not any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger("mnist_seq").handlers)
    assert json.loads((tiny_run.path / "model.json").read_text())["digits"] == "uci"
