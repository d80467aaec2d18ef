"""What loggers are told, and where W&B keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

import mnist_seq
from tests.conftest import TINY
from tests.learn.test_training import rows


def test_several_callbacks_and_loggers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_MODE", "offline")
    overrides = (*TINY, "callbacks=[ema,early_stopping,gradient_histograms]", "logger=[wandb,tensorboard]")
    overrides += ("callbacks.gradient_histograms.every_n_steps=5",)
    run = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert list((run.path / "tensorboard").glob("events*"))
    assert list((run.path / "wandb").glob("offline-run-*"))
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    (told,) = events.Scalars("judged/exact_match")
    assert told.value == pytest.approx(run.metrics["val"]["exact_match"])
    (recorded,) = (run.path / "wandb").glob("offline-run-*/files/media/html/report*.html")
    assert recorded.read_text() == run.report.read_text()
    import wandb

    assert wandb.run is None, "finished, so that the next run of this process gets its own"
    assert len(rows(run)) == 9


def test_wandb_without_account_or_service_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mnist_seq.learn import loggers

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert not loggers._logged_in("https://api.wandb.ai")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert loggers._logged_in("https://api.wandb.ai")
    assert not loggers._answers("http://127.0.0.1:9", patience=1)
