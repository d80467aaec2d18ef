"""Step counts of a Lightning Trainer."""

from __future__ import annotations

import math

import lightning as L


def total_steps(trainer: L.Trainer) -> int | None:
    """Return the number of optimiser steps after which training ends; None where something else ends it."""
    steps = trainer.estimated_stepping_batches
    return None if steps == math.inf else int(steps)


def should_log(trainer: L.Trainer, step: int) -> bool:
    """Whether Lightning passes the metrics of a step, counted from 1, to the loggers; those of the last one always."""
    interval = int(getattr(trainer, "log_every_n_steps", 0))
    return interval > 0 and (step % interval == 0 or step == trainer.max_steps)
