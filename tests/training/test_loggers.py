"""Loggers besides metrics.csv: TensorBoard, Weights & Biases and custom ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mnist_seq
from mnist_seq.config.serialization import to_dict
from mnist_seq.nn.encoder_decoder import EncoderDecoder
from mnist_seq.run_dir import Run
from mnist_seq.training import loggers, wandb_logger
from mnist_seq.training.callbacks import LogPredictions
from tests.conftest import TINY
from tests.training.test_fit import rows


def test_several_callbacks_and_loggers_work_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    overrides = (*TINY, "callbacks=[ema,early_stopping,gradient_histograms]", "logger=[wandb,tensorboard]")
    overrides += ("callbacks.gradient_histograms.every_n_steps=5",)
    run = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    assert list((run.path / "tensorboard").glob("events*"))
    assert list((run.path / "wandb").glob("offline-run-*"))
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    (logged,) = events.Scalars("eval/exact_match")
    assert logged.value == pytest.approx(run.metrics["val"]["exact_match"])
    (recorded,) = (run.path / "wandb").glob("offline-run-*/files/media/html/report*.html")
    assert recorded.read_text() == run.report.read_text()
    import wandb

    assert wandb.run is None, "finished, so that the next run of this process gets its own"
    assert len(rows(run)) == 9


def test_histograms_need_a_logger(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="callbacks=gradient_histograms has no logger to write to"):
        mnist_seq.fit(*TINY, "callbacks=gradient_histograms", f"hydra.run.dir={tmp_path / 'run'}")


def test_logged_predictions_are_of_the_weights_that_are_validated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The averaged ones, where there are any."""
    seen: dict[str, list[float]] = {"logged": [], "validated": []}
    read = EncoderDecoder.read

    def recording_read(self: EncoderDecoder, images: Any) -> Any:
        seen["logged" if len(images) == 16 else "validated"].append(float(next(self.parameters()).detach().sum()))
        return read(self, images)

    monkeypatch.setattr(EncoderDecoder, "read", recording_read)
    more = ("callbacks=ema", "logger=tensorboard", "data.val_scenes=30", "trainer.val_check_interval=6", "report=false")
    mnist_seq.fit(*TINY, *more, f"hydra.run.dir={tmp_path / 'run'}")
    assert len(seen["logged"]) == 2
    assert set(seen["logged"]) <= set(seen["validated"])


def test_wandb_is_offline_without_account_or_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert not wandb_logger._has_wandb_credentials("https://api.wandb.ai")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert wandb_logger._has_wandb_credentials("https://api.wandb.ai")
    assert not wandb_logger._is_reachable("http://127.0.0.1:9", timeout=1)


class Recorder(Logger):
    """A custom logger, which gets the defaults that its signature has."""

    instances: list[Recorder] = []  # noqa: RUF012
    name, version = "recorder", ""

    def __init__(self, run_name: str) -> None:
        super().__init__()
        self.run_name = run_name
        self.hyperparams: list[Any] = []
        self.instances.append(self)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.hyperparams.append(params)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        pass


def test_custom_logger_gets_the_whole_config_and_the_name_of_the_run(tmp_path: Path) -> None:
    custom = f"+logger.mine._target_={__name__}.Recorder"
    run = mnist_seq.fit(*TINY, "logger=tensorboard", custom, f"hydra.run.dir={tmp_path / 'named'}")
    recorder = Recorder.instances.pop()
    assert recorder.run_name == "named"
    assert recorder.hyperparams == [to_dict(run.config)]
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hp_metric = {event.step: event.value for event in events.Scalars("hp_metric")}
    assert hp_metric[12] == pytest.approx(run.metrics["val"]["exact_match"])


def test_wandb_run_is_named_after_its_directory_unless_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_NAME", raising=False)
    given = {"save_dir": str(tmp_path), "id": "abc", "run_name": "12-00-00"}
    assert wandb_logger.wandb_logger(**given)._wandb_init["name"] == "12-00-00"
    assert wandb_logger.wandb_logger(**given, name="mine")._wandb_init["name"] == "mine"
    monkeypatch.setenv("WANDB_NAME", "by environment")
    assert wandb_logger.wandb_logger(**given)._wandb_init["name"] is None


def crash(self: LogPredictions, trainer: Any, *_: Any) -> None:
    if trainer.global_step == 9:
        raise KeyError("as if the process were killed")


def test_all_offline_folders_of_a_wandb_run_are_to_be_uploaded(tmp_path: Path) -> None:
    """W&B appends a number to the second folder of one second."""
    folders = [tmp_path / f"offline-run-20260131_120000-ab12{number}" for number in ("", "-1")]
    for folder in (*folders, tmp_path / "offline-run-20260131_120000-cd34"):
        (folder / "files").mkdir(parents=True)
    wandb_run = SimpleNamespace(offline=True, id="ab12", dir=str(folders[0] / "files"), finish=lambda: None)
    message = wandb_logger.finish_wandb_run(SimpleNamespace(_experiment=wandb_run, experiment=wandb_run))
    assert message == f"W&B ran offline; to upload: wandb sync {folders[0]} {folders[1]}"


def test_resumed_run_logs_each_step_once_and_continues_its_wandb_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    overrides = ("model.decoder_depth=1", "logger=[wandb,tensorboard]", "callbacks=gradient_histograms")
    overrides += ("callbacks.gradient_histograms.every_n_steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    with monkeypatch.context() as patched:
        patched.setattr(LogPredictions, "on_train_batch_end", crash, raising=False)
        with pytest.raises(KeyError):
            mnist_seq.fit(*TINY, *overrides)
    run = mnist_seq.fit(f"resume={tmp_path / 'run'}")
    events = EventAccumulator(str(run.path / "tensorboard"), {"scalars": 0, "histograms": 0}).Reload()
    for tag in events.Tags()["scalars"]:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps)), tag
    assert [it.step for it in events.Scalars("train/loss")] == [
        row["step"] for row in run.logged_metrics if "train/loss" in row
    ]
    histograms = events.Tags()["histograms"]
    assert {tuple(it.step for it in events.Histograms(tag)) for tag in histograms} == {(2, 4, 6, 8, 10, 12)}
    parts = sorted((run.path / "wandb").glob("offline-run-*"))
    ids = [it.name.split("-")[3] for it in parts]  # offline-run-DATE-ID, and a number after two in one second
    assert ids == [run.metrics["id"]] * 2
    assert f"wandb sync {parts[0]} {parts[1]}" in " ".join(capsys.readouterr().out.split())


def test_wandb_artifact_has_the_evaluated_weights(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts: list[Any] = []
    logger = WandbLogger(project="none", offline=True)
    monkeypatch.setattr(logger, "log_metrics", lambda *_: None)
    logger._experiment = SimpleNamespace(id="x", offline=False, log=lambda *_: None, log_artifact=artifacts.append)
    monkeypatch.setattr(WandbLogger, "experiment", property(lambda self: self._experiment))
    loggers.log_final_metrics([logger], tiny_run)
    (artifact,) = artifacts
    assert sorted(artifact.manifest.entries) == ["model.json", "weights.safetensors"]
    assert artifact.manifest.entries["weights.safetensors"].size == tiny_run.weights.stat().st_size
