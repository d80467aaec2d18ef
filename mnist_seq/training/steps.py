"""Counting the steps of a Trainer."""

from __future__ import annotations

import math

import lightning as L


def should_log(trainer: L.Trainer, step: int) -> bool:
    """Whether Lightning passes the metrics of this step, counted from 1, to the loggers; the last step always is."""
    interval = int(getattr(trainer, "log_every_n_steps", 0))
    return interval > 0 and (step % interval == 0 or step == trainer.max_steps)


def should_log_now(trainer: L.Trainer) -> bool:
    """Whether the batch that ends completes a step that is logged; for `on_train_batch_end`.

    The batches of an accumulated step that come before its last one complete none.
    """
    num_batches = trainer.fit_loop.epoch_loop.batch_progress.total.ready  # with the one that ends
    return num_batches % trainer.accumulate_grad_batches == 0 and should_log(trainer, trainer.global_step)


def total_steps(trainer: L.Trainer) -> int | None:
    """The number of optimizer steps of the training; None where it does not end after a number of steps."""
    steps = trainer.estimated_stepping_batches
    return None if steps == math.inf else int(steps)


def num_batches_seen(trainer: L.Trainer) -> int:
    """The number of batches that each rank has trained on, including those before the run was resumed."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.completed)
