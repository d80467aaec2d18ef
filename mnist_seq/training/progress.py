"""Progress of training: a live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from mnist_seq.training.callbacks import Throughput
from mnist_seq.training.steps import should_log_now, total_steps

_PRINT_INTERVAL_S = 30
"""Shortest time between plain lines, seconds; each validation prints one, too."""


class ProgressReporter(Callback):
    """Shows loss, exact match, scenes per second and the remaining time."""

    def __init__(self, throughput: Throughput, console: Console) -> None:
        self.throughput, self.console = throughput, console
        self._bar: Progress | None = None
        self._printed_at = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._printed_at, self._first_step = time.monotonic(), trainer.global_step
        if not self.console.is_terminal:
            return
        left = (TimeRemainingColumn(compact=True), "left")
        columns = ("training", BarColumn(), MofNCompleteColumn(), "{task.fields[metrics]}", *left)
        self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
        self._bar.add_task("training", total=total_steps(trainer), completed=trainer.global_step, metrics="")
        self._bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step)
        if should_log_now(trainer):
            self._report(trainer, due=time.monotonic() - self._printed_at > _PRINT_INTERVAL_S)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._report(trainer, due=True)

    def on_train_end(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_exception(self, *_: Any) -> None:
        self.on_train_end()

    def _report(self, trainer: L.Trainer, due: bool) -> None:
        metrics = self._format_metrics(trainer)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], metrics=metrics)
        elif due and trainer.is_global_zero:
            self._printed_at = time.monotonic()
            steps = total_steps(trainer)
            total, eta = ("", "") if steps is None else (f"/{steps}", self._format_eta(trainer, steps))
            self.console.print(f"step {trainer.global_step}{total}  {metrics}  {eta}", highlight=False)

    def _format_metrics(self, trainer: L.Trainer) -> str:
        formats = {"train/loss": "loss {:.3f}", "val/exact_match": "exact match {:.2%}"}
        values = trainer.callback_metrics
        parts = [text.format(float(values[key])) for key, text in formats.items() if key in values]
        if self.throughput.scenes_per_second:
            parts.append(f"{self.throughput.scenes_per_second:,.0f} scenes/s")
        return "  ".join(parts)

    def _format_eta(self, trainer: L.Trainer, steps: int) -> str:
        steps_taken = trainer.global_step - self._first_step
        if not steps_taken or not self.throughput.train_seconds:
            return ""
        seconds = int(self.throughput.train_seconds / steps_taken * (steps - trainer.global_step))
        return f"{seconds // 60}:{seconds % 60:02d} left"
