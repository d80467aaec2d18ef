"""Checks before training, and the count of scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler

import mnist_seq
from mnist_seq.config import TrainerConfig
from mnist_seq.config.serialization import from_dict
from mnist_seq.errors import UserError
from mnist_seq.run_dir import Run
from mnist_seq.training import module
from mnist_seq.training.metrics import METRIC_NAMES, SequenceMetrics
from mnist_seq.training.trainer_checks import LOGGED_METRICS, check_callbacks, check_trainer_arguments
from tests.conftest import TINY

SMALL = (*TINY, "data=single", "report=false")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "the same batches": ({"overfit_batches": 1}, r"overfit_batches=1 .*data\.num_train_scenes=64"),
    "the same scenes in each epoch": ({"reload_dataloaders_every_n_epochs": 1}, "each epoch would begin with the same"),
    "validations by epochs": ({"check_val_every_n_epoch": 1}, r"choose trainer\.val_check_interval"),
    "a rehearsal": ({"fast_dev_run": True}, r"choose trainer\.max_steps=1"),
    "nothing saved": ({"enable_checkpointing": False}, "nothing would be saved"),
    "no table": ({"logger": False}, "logger="),
    "another directory": ({"default_root_dir": "gone"}, r"choose hydra\.run\.dir"),
    "nothing trained": ({"limit_train_batches": 0}, "runs no training step"),
    "no end": ({"max_steps": None}, r"without an end.*\+trainer\.max_time"),
    "no such argument": ({"speed": 9}, "trainer.speed is not an argument"),
    "processes that do not know the run": ({"strategy": "ddp_spawn"}, "ddp_spawn is unknown: choose from auto, ddp"),
    "and forked ones": ({"strategy": "ddp_fork"}, "ddp_fork is unknown: choose from auto, ddp"),
    "epochs of half a step": ({"accumulate_grad_batches": 8, "max_epochs": 2}, r"set trainer\.max_steps"),
    "a checkpoint within a step": (
        {"accumulate_grad_batches": 8, "val_check_interval": 20},
        "choose a multiple of trainer.accumulate_grad_batches=8",
    ),
    "float16 alone": ({"precision": "16-true"}, "16-true diverges.*choose bf16-true"),
    "layers of another package": ({"precision": "transformer-engine"}, "transformer-engine is unknown: choose from"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_unsupported_trainer_arguments_are_refused(case: str) -> None:
    arguments, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        check_trainer_arguments(from_dict(TrainerConfig, {"max_steps": 10} | arguments))


@pytest.mark.parametrize(
    "given",
    [
        {"max_time": "00:01:00:00"},
        {"max_epochs": -1},
        {"max_steps": 9, "profiler": "simple", "limit_val_batches": 2},
        {"max_steps": 9, "accumulate_grad_batches": 8, "val_check_interval": 16},
        {"max_steps": 9, "strategy": "auto"},
    ],
    ids=str,
)
def test_supported_trainer_arguments_are_accepted(given: dict[str, Any]) -> None:
    check_trainer_arguments(from_dict(TrainerConfig, given))


class CustomCallback(L.Callback):
    """May log any metric."""


def test_callback_that_monitors_a_metric_that_is_not_logged_is_refused() -> None:
    stopping = EarlyStopping("val/exact_match", mode="max")
    check_callbacks([stopping], has_validation=True)
    with pytest.raises(UserError, match="monitors val/exact_match after each validation.*there is none"):
        check_callbacks([stopping], has_validation=False)
    misspelt = EarlyStopping("val/exact_mach", mode="max")
    with pytest.raises(UserError, match="monitor=val/exact_mach, which nothing logs: choose from val/exact_match"):
        check_callbacks([misspelt], has_validation=True)
    check_callbacks([misspelt, CustomCallback()], has_validation=True)
    with pytest.raises(UserError, match=r"choose trainer\.accumulate_grad_batches"):
        check_callbacks([GradientAccumulationScheduler({0: 2})], has_validation=True)


def test_known_metric_names_are_those_that_are_logged(tiny_run: Run) -> None:
    assert set(METRIC_NAMES) == SequenceMetrics().compute().keys()
    logged = {name for row in tiny_run.logged_metrics for name in row}
    assert logged == {f"val/{name}" for name in METRIC_NAMES} | set(LOGGED_METRICS)


@pytest.mark.parametrize("no_validation", ["data.pool=full", "+trainer.limit_val_batches=0"])
@pytest.mark.parametrize("callback", ["early_stopping", "reached"])
def test_early_stopping_without_val_is_refused_before_anything_is_written(
    callback: str, no_validation: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="there is none"):
        mnist_seq.fit(*SMALL, f"callbacks={callback}", no_validation, f"hydra.run.dir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_number_of_scenes_is_that_of_all_training_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With accumulation over more batches than an epoch has, and after resuming."""
    shown: list[int] = []
    step = module.ReaderModule.training_step

    def counted(self: Any, scenes: Any, batch_idx: int) -> Any:
        shown.append(len(scenes.digits))
        return step(self, scenes, batch_idx)

    monkeypatch.setattr(module.ReaderModule, "training_step", counted)
    accumulated = ("data.num_train_scenes=64", "+trainer.accumulate_grad_batches=8", "trainer.val_check_interval=16")
    run = mnist_seq.fit(*SMALL, *accumulated, "trainer.max_steps=3", f"hydra.run.dir={tmp_path / 'run'}")
    assert run.metrics["scenes"] == sum(shown) == 3 * 8 * 32
    flops = run.metrics["flops"]
    longer = mnist_seq.fit(f"resume={run.path}", "trainer.max_steps=5")
    assert longer.metrics["scenes"] == sum(shown) == 5 * 8 * 32
    assert longer.metrics["flops"] * 3 == flops * 5
    assert longer.val_curve[-1][0] == sum(shown)


def test_epochs_that_accumulation_does_not_divide_are_refused(tmp_path: Path) -> None:
    cut = ("+trainer.limit_train_batches=3", "+trainer.accumulate_grad_batches=2", "trainer.val_check_interval=6")
    with pytest.raises(UserError, match="limit_train_batches=3 makes epochs of 3 batches"):
        mnist_seq.fit(*SMALL, *cut, f"hydra.run.dir={tmp_path / 'run'}")


def test_run_without_any_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"before its first step: increase trainer\.max_time"):
        mnist_seq.fit(*SMALL, "+trainer.max_time=00:00:00:00", f"hydra.run.dir={tmp_path / 'run'}")
    assert not Run(tmp_path / "run").weights.exists()
