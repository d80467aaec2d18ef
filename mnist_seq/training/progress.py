"""How training goes, for the person who waits: a live bar in a terminal, short plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from mnist_seq.training.callbacks import Throughput
from mnist_seq.training.steps import should_log, total_steps

_PRINT_INTERVAL_S = 30
"""Between plain lines, at least; each validation gets one."""


class ProgressReporter(Callback):
    """Loss, exact match, scenes a second and time left."""

    def __init__(self, throughput: Throughput, console: Console) -> None:
        self.throughput, self.console = throughput, console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = 0.0
        self._begun_at = 0

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._said, self._begun_at = time.monotonic(), trainer.global_step
        if not self.console.is_terminal:
            return
        columns: list[str | ProgressColumn] = [TextColumn("training"), BarColumn(), MofNCompleteColumn()]
        columns += [TextColumn("{task.fields[figures]}"), TimeRemainingColumn(compact=True), TextColumn("left")]
        self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
        self._task = self._bar.add_task(
            "training", total=total_steps(trainer), completed=trainer.global_step, figures=""
        )
        self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=trainer.global_step)
        if should_log(trainer, trainer.global_step):
            self._report(trainer, due=time.monotonic() - self._said > _PRINT_INTERVAL_S)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._report(trainer, due=True)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def _report(self, trainer: L.Trainer, due: bool) -> None:
        figures = self._format_metrics(trainer)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, figures=figures)
        elif due and trainer.is_global_zero:
            self._said = time.monotonic()
            steps = total_steps(trainer)
            of, left = ("", "") if steps is None else (f"/{steps}", self._format_eta(trainer, steps))
            self.console.print(f"step {trainer.global_step}{of}  {figures}  {left}", highlight=False)

    def _format_metrics(self, trainer: L.Trainer) -> str:
        parts = []
        for key, name, style in (("train/loss", "loss", "{:.3f}"), ("val/exact_match", "exact match", "{:.2%}")):
            if key in trainer.callback_metrics:
                parts.append(f"{name} {style.format(float(trainer.callback_metrics[key]))}")
        if self.throughput.scenes_per_second:
            parts.append(f"{self.throughput.scenes_per_second:,.0f} scenes/s")
        return "  ".join(parts)

    def _format_eta(self, trainer: L.Trainer, steps: int) -> str:
        here = trainer.global_step - self._begun_at
        if not here or not self.throughput.train_seconds:
            return ""
        seconds = int(self.throughput.train_seconds / here * (steps - trainer.global_step))
        return f"{seconds // 60}:{seconds % 60:02d} left"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
