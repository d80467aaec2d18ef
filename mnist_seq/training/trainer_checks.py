"""Checks before training: arguments and callbacks that would not do what the user expects."""

from __future__ import annotations

import inspect

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, GradientAccumulationScheduler

from mnist_seq.config import TrainerConfig
from mnist_seq.config.validation import check, check_choice
from mnist_seq.training.metrics import METRIC_NAMES

SUPPORTED_STRATEGIES = ("auto", "ddp")
"""Lightning's other strategies start processes that do not know the run, or shard a small model."""
LOGGED_METRICS = ("train/loss", "train/accuracy", "train/lr", "train/gradient_norm", "train/scenes_per_second", "step")
"""Names that are logged besides the metrics on val."""
UNSUPPORTED_ARGUMENTS = {
    "overfit_batches": "epochs do not repeat here; data.num_train_scenes=64 trains on the same 64 scenes every epoch",
    "reload_dataloaders_every_n_epochs": "each epoch would begin with the same scenes: leave it out",
    "check_val_every_n_epoch": "validations go by steps here: choose trainer.val_check_interval",
    "fast_dev_run": "it would leave what looks like a trained run: choose trainer.max_steps=1",
    "barebones": "nothing would be logged or saved: leave it out",
    "enable_checkpointing": "nothing would be saved: leave it out",
    "logger": "metrics.csv is always written: choose others with logger=",
    "callbacks": "choose them with callbacks=",
    "plugins": "choose trainer.precision and trainer.strategy",
    "default_root_dir": "choose hydra.run.dir",
}
"""Argument of Lightning's Trainer that means something else here, or would lose work -> what to do instead."""


def check_trainer_arguments(config: TrainerConfig) -> None:
    """Check the arguments for Lightning's Trainer.

    Raises:
        UserError: an unknown or unsupported argument, or a training without an end.
    """
    arguments = config.lightning_kwargs()
    known = inspect.signature(L.Trainer.__init__).parameters
    for key, value in arguments.items():
        check(key in known, f"trainer.{key} is not an argument of Lightning's Trainer")
        check(
            key not in UNSUPPORTED_ARGUMENTS,
            f"trainer.{key}={value} is not supported: {UNSUPPORTED_ARGUMENTS.get(key)}",
        )
    check_choice("trainer.strategy", arguments.get("strategy", "auto"), SUPPORTED_STRATEGIES)
    check(
        arguments.get("limit_train_batches") != 0, "trainer.limit_train_batches=0 runs no training step: leave it out"
    )
    check(
        any(key in arguments for key in ("max_steps", "max_epochs", "max_time")),
        "trainer.max_steps=null leaves training without an end: set it, +trainer.max_time, or +trainer.max_epochs "
        "(-1 where a callback stops the training)",
    )
    accumulate, interval = arguments.get("accumulate_grad_batches", 1), config.val_check_interval or 1
    if accumulate == 1:
        return
    check(
        "max_epochs" not in arguments,
        f"trainer.max_epochs={arguments.get('max_epochs')} with trainer.accumulate_grad_batches={accumulate}: "
        "an epoch may not be a whole number of steps; set trainer.max_steps instead",
    )
    check(
        interval % accumulate == 0,
        f"trainer.val_check_interval={interval} counts batches, but checkpoints are saved between steps: "
        f"choose a multiple of trainer.accumulate_grad_batches={accumulate}",
    )


def check_callbacks(callbacks: list[Callback], has_validation: bool) -> None:
    """Check the user's callbacks.

    Args:
        callbacks: those of the user.
        has_validation: whether there are scenes to validate on.

    Raises:
        UserError: a callback monitors a metric that is not logged, or changes the number of scenes per step.
    """
    known = [*(f"val/{name}" for name in METRIC_NAMES if has_validation), *LOGGED_METRICS]
    custom_callbacks = [it for it in callbacks if not type(it).__module__.startswith(("lightning.", "mnist_seq."))]
    for callback in callbacks:
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        check(
            has_validation or not isinstance(callback, EarlyStopping),
            f"callbacks: {name} monitors {monitor} after each validation, but there is none (no val images, "
            "data.pool=full or trainer.limit_val_batches=0): leave it out with callbacks=null, or validate",
        )
        check(
            monitor is None or monitor in known or bool(custom_callbacks),  # which may log it
            f"callbacks: {name} has monitor={monitor}, which nothing logs: choose from {', '.join(known)}",
        )
        check(
            not isinstance(callback, GradientAccumulationScheduler),
            f"callbacks: {name} would change the number of scenes per step: choose trainer.accumulate_grad_batches",
        )
