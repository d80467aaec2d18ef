"""What is refused before training, since it would be trained otherwise than it is asked for, or for nothing."""

from __future__ import annotations

import inspect

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, GradientAccumulationScheduler

from mnist_seq.config import TrainerConfig
from mnist_seq.config.validation import check, check_choice
from mnist_seq.training.metrics import METRIC_NAMES

SUPPORTED_STRATEGIES = ("auto", "ddp")
"""Of Lightning's, those that train here; others start processes that do not know of the run, or split a small model."""
LOGGED_METRICS = ("train/loss", "train/accuracy", "train/lr", "train/gradient_norm", "train/scenes_per_second", "step")
"""What is logged beside the metrics of val."""
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
"""Arguments of Lightning's Trainer that mean something else here, or would lose work -> the way out."""


def check_trainer_arguments(config: TrainerConfig) -> None:
    """Refuse a trainer that would not do what it is asked for.

    Raises:
        UserError: an argument that Lightning's Trainer does not have, or that has no meaning here; no end of training.
    """
    arguments = config.lightning_kwargs()
    known = inspect.signature(L.Trainer.__init__).parameters
    for key, value in arguments.items():
        check(key in known, f"trainer.{key} is no argument of Lightning's Trainer")
        check(
            key not in UNSUPPORTED_ARGUMENTS,
            f"trainer.{key}={value} is not to be had: {UNSUPPORTED_ARGUMENTS.get(key)}",
        )
    check_choice("trainer.strategy", arguments.get("strategy", "auto"), SUPPORTED_STRATEGIES)
    check(arguments.get("limit_train_batches") != 0, "trainer.limit_train_batches=0 trains nothing: leave it out")
    check(
        any(key in arguments for key in ("max_steps", "max_epochs", "max_time")),
        "trainer.max_steps=null leaves training without an end: give it, +trainer.max_time, or +trainer.max_epochs, "
        "of which -1 is for callbacks that stop",
    )
    accumulated, interval = arguments.get("accumulate_grad_batches", 1), config.val_check_interval or 1
    if accumulated == 1:
        return
    check(
        "max_epochs" not in arguments,
        f"trainer.max_epochs={arguments.get('max_epochs')} with trainer.accumulate_grad_batches={accumulated}: "
        "an epoch need not be a whole number of steps; give trainer.max_steps",
    )
    check(
        interval % accumulated == 0,
        f"trainer.val_check_interval={interval} counts batches, and a validation is saved between two steps: "
        f"choose a multiple of trainer.accumulate_grad_batches={accumulated}",
    )


def check_callbacks(callbacks: list[Callback], has_validation: bool) -> None:
    """Refuse a callback that waits for what never comes.

    Args:
        callbacks: those of the user.
        validates: there are scenes to validate on.

    Raises:
        UserError: one that watches a metric that nothing logs, or val where there is none.
    """
    known = [*(f"val/{name}" for name in METRIC_NAMES if has_validation), *LOGGED_METRICS]
    others = [it for it in callbacks if not type(it).__module__.startswith(("lightning.", "mnist_seq."))]
    for callback in callbacks:
        name, monitor = type(callback).__name__, getattr(callback, "monitor", None)
        check(
            has_validation or not isinstance(callback, EarlyStopping),
            f"callbacks: {name} looks at monitor={monitor} after each validation, and with data.pool=full or "
            "trainer.limit_val_batches=0 there is none: leave it out, or validate",
        )
        check(
            monitor is None or monitor in known or bool(others),  # which may log it
            f"callbacks: {name} has monitor={monitor}, which nothing logs: choose from {', '.join(known)}",
        )
        check(
            not isinstance(callback, GradientAccumulationScheduler),
            f"callbacks: {name} would change how many scenes a step is: choose trainer.accumulate_grad_batches",
        )
