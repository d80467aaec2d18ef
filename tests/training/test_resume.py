"""Interrupted and resumed runs equal uninterrupted ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

import mnist_seq
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.errors import Interrupted
from mnist_seq.inference import weights
from mnist_seq.reporting.run_summary import print_run_summary
from mnist_seq.run_dir import Run
from mnist_seq.training import callbacks, resume, signals, torch_settings
from tests.conftest import TINY
from tests.data.preset_configs import pool, preset
from tests.data.test_export_dataset import export
from tests.training.test_fit import rows


def assert_same(one: Run, other: Run) -> None:
    """Bit-identical, except for timings."""
    assert one.weights.read_bytes() == other.weights.read_bytes()
    assert rows(one) == rows(other)
    for name in ("val", "steps", "parameters", "seed", "digits"):
        assert one.metrics[name] == other.metrics[name]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps after which a signal arrives, one per training."""
    steps: list[int] = []

    class Signalled(signals.StopOnSignal):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            if steps and trainer.global_step == steps[0]:
                self._handle_signal(steps.pop(0) and 15, None)

    monkeypatch.setattr(signals, "StopOnSignal", Signalled)
    return steps


@pytest.mark.parametrize(
    "extra",
    [
        ("model.dropout=0.2", "trainer.precision=32-true"),
        ("model.dropout=0.2", "trainer.precision=bf16-mixed"),
        ("callbacks=ema", "optim=muon"),
        ("+trainer.accumulate_grad_batches=3", "trainer.val_check_interval=6", "data.num_train_scenes=900"),
        ("data.num_train_scenes=450", "loss=multiset", "data=scatter", "data.order=set", "data.order_margin=0"),
    ],
    ids=["float32", "bfloat16", "ema and muon", "accumulated", "fixed and shuffled"],
)
def test_resumed_run_equals_uninterrupted_run(tmp_path: Path, stop: list[int], extra: tuple[str, ...]) -> None:
    """Stopped between validations, at a validation (5), within an epoch, and at its end (every 3 steps)."""
    overrides = (*TINY, "data.batch_size=399", *extra)
    whole = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'whole'}")
    begin: tuple[str, ...] = (*overrides, f"hydra.run.dir={tmp_path / 'parts'}")
    for step in (3, 5, 8, 9, 11):
        stop[:] = [step]
        with pytest.raises(Interrupted, match=f"after step {step}.*resume="):
            mnist_seq.fit(*begin)
        begin = (f"resume={tmp_path / 'parts'}",)
    assert_same(mnist_seq.fit(*begin), whole)


def test_signal_during_the_last_step_is_not_lost(tmp_path: Path, stop: list[int]) -> None:
    stop[:] = [12]
    with pytest.raises(Interrupted, match="after step 12, which is saved.*resume="):
        mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'run'}")
    assert weights.load_checkpoint(tmp_path / "run/checkpoints/last.ckpt")["global_step"] == 12
    assert mnist_seq.fit(f"resume={tmp_path / 'run'}").finished


def test_signal_while_ranks_synchronize_counts_for_the_next_step(tmp_path: Path) -> None:
    """Only one rank received it: if that rank stopped now, the other would wait for it."""
    saved: list[int] = []
    stop = signals.StopOnSignal(Run(tmp_path), SimpleNamespace(save_between_steps=lambda it: saved.append(1)))  # type: ignore[arg-type]

    def reduce_boolean_decision(decision: bool, all: bool) -> bool:
        stop._handle_signal(15, None)
        return decision

    ranks: Any = SimpleNamespace(reduce_boolean_decision=reduce_boolean_decision)
    trainer: Any = SimpleNamespace(accumulate_grad_batches=1, world_size=2, global_step=3, strategy=ranks)
    stop.on_train_batch_start(trainer, None, None, 0)  # type: ignore[arg-type]
    assert not saved
    with pytest.raises(Interrupted, match="SIGTERM after step 3"):
        stop.on_train_batch_start(trainer, None, None, 1)  # type: ignore[arg-type]
    assert saved


def test_time_before_an_interruption_counts(tmp_path: Path, stop: list[int]) -> None:
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


def test_metrics_after_the_checkpoint_are_dropped_on_resuming(tmp_path: Path) -> None:
    """A kill between two checkpoints leaves later rows, and a last one that is cut short."""
    first = mnist_seq.fit(*TINY, "trainer.max_steps=5", f"hydra.run.dir={tmp_path / 'run'}")
    commas = first.metrics_csv.read_text().splitlines()[0].count(",")
    with first.metrics_csv.open("a") as table:
        table.write(f"6,777.25{',' * (commas - 1)}\n8,777.25,9")
    longer = mnist_seq.fit(f"resume={first.path}", "trainer.max_steps=12")
    assert [row["step"] for row in rows(longer)] == ["2", "4", "5", "5", "6", "8", "10", "10", "12", "12"]
    assert longer.metrics["steps"] == 12
    assert "777.25" not in longer.metrics_csv.read_text()


def test_moved_run_resumes_and_keeps_its_best_checkpoint(tmp_path: Path) -> None:
    run = mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'here'}")
    best = run.best_checkpoint.read_bytes()
    run.path.rename(tmp_path / "there")
    checkpoint = weights.load_checkpoint(tmp_path / "there/checkpoints/last.ckpt")
    checkpoint["callbacks"]["ResumableCheckpoint"]["best"] = 1.0
    torch.save(checkpoint, tmp_path / "there/checkpoints/last.ckpt")
    again = mnist_seq.fit(f"resume={tmp_path / 'there'}", "trainer.max_steps=15")
    assert again.metrics["steps"] == 15
    assert again.best_checkpoint.read_bytes() == best


def test_run_on_images_resumes_where_they_are_now_but_not_on_others(tmp_path: Path) -> None:
    mine = export(tmp_path / "mine", 20, SyntheticDataset(preset("single"), pool("test")))
    for name in ("card.json", "README.md", "SHA256SUMS"):
        (mine / name).unlink()
    run = mnist_seq.fit(*TINY, f"data.from={mine}", "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    moved = mine.rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="mine is not a directory"):
        mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=4")
    assert mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=4", f"data.from={moved}").metrics["steps"] == 4
    rows = (moved / "labels.jsonl").read_text().splitlines()
    (moved / "labels.jsonl").write_text("\n".join(rows[:-3]))
    with pytest.raises(ValueError, match=r"moved has changed since .*run began: restore its images and labels"):
        mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=6")


def test_only_steps_threads_and_loggers_can_change_on_resuming(tiny_run: Run) -> None:
    before = {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()}
    for override in ("optim.lr=1", "seed=3", "model=classifier"):
        with pytest.raises(ValueError, match=f"{override}.*only trainer.max_steps, trainer.threads, test, logger"):
            mnist_seq.fit(f"resume={tiny_run.path}", override)
    with pytest.raises(ValueError, match="trainer.max_steps=null leaves training without an end"):
        mnist_seq.fit(f"resume={tiny_run.path}", "trainer.max_steps=null")
    with pytest.raises(ValueError, match="already holds a run"):
        mnist_seq.fit(*TINY, f"hydra.run.dir={tiny_run.path}")
    assert before == {path: path.read_bytes() for path in tiny_run.path.rglob("*") if path.is_file()}


def test_resumed_run_keeps_its_threads_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Their number is chosen when a run starts, by the cores that are idle, and recorded; seeds may differ in it."""
    for threads, name in ((2, "two"), (1, "one")):
        monkeypatch.setattr(torch_settings, "choose_threads", lambda threads=threads: threads)
        mnist_seq.fit(*TINY, "trainer.max_steps=2", f"hydra.run.dir={tmp_path / name}")
    two, one = (Run.open(tmp_path / name) for name in ("two", "one"))
    assert [run.config.trainer.threads for run in (two, one)] == [2, 1]
    assert two.config_without_seed == one.config_without_seed
    monkeypatch.setattr(resume, "available_cores", lambda: 1)
    resumed = mnist_seq.fit(f"resume={two.path}", "trainer.max_steps=4")
    assert (resumed.config.trainer.threads, resumed.metrics["threads"]) == (2, 2)
    assert "has 2 threads, but this machine has 1 cores: trainer.threads=1 is faster" in caplog.text
    assert mnist_seq.fit(f"resume={two.path}", "trainer.threads=1").config.trainer.threads == 1


def test_run_without_val_is_saved_regularly_and_resumes_bit_identically(
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


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    """As after a kill between the last checkpoint and the end; the averaged weights still count."""
    run = mnist_seq.fit(*TINY, "callbacks=ema", f"hydra.run.dir={tmp_path / 'run'}")
    kept, before, table = run.weights.read_bytes(), run.metrics, rows(run)
    run.weights.unlink()
    again = mnist_seq.fit(f"resume={run.path}")
    assert again.weights.read_bytes() == kept
    assert again.metrics == before
    assert rows(again) == table


def test_run_resumed_at_its_last_step_is_finished(tmp_path: Path) -> None:
    """Its training was interrupted, so that its metrics were not recorded."""
    run = mnist_seq.fit(*TINY, f"hydra.run.dir={tmp_path / 'run'}")
    run.weights.unlink()
    begun = {key: run.metrics[key] for key in ("id", "overrides", "seed")}
    (run.path / "metrics.json").write_text(json.dumps(begun))
    again = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=12")
    assert again.finished
    assert (again.metrics["steps"], again.metrics["scenes_per_second"]) == (12, 0)
    print_run_summary(again)


def test_run_that_is_extended_continues_at_the_rate_of_its_new_schedule(tmp_path: Path) -> None:
    """From its first step on: the rate in its checkpoint, the last of the old schedule, is 0."""
    settings = ("optim.schedule=linear", "trainer.log_every_n_steps=1")
    run = mnist_seq.fit(*TINY, *settings, f"hydra.run.dir={tmp_path / 'run'}")
    whole = mnist_seq.fit(*TINY, *settings, "trainer.max_steps=20", f"hydra.run.dir={tmp_path / 'whole'}")
    mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=20")
    rates = [{row["step"]: row["train/lr"] for row in rows(it) if row.get("train/lr")} for it in (run, whole)]
    assert {step: rate for step, rate in rates[0].items() if float(step) > 12} == {
        step: rate for step, rate in rates[1].items() if float(step) > 12
    }
    assert len(rates[1]) == 20
