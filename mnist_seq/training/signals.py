"""Signals during training: save a checkpoint, then stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from mnist_seq.config.override_syntax import format_command
from mnist_seq.errors import Interrupted
from mnist_seq.run_dir import Run
from mnist_seq.training.checkpoints import ResumableCheckpoint

_REQUEUE_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)
"""The signal that submitit has a cluster send before it ends a job; Windows does not have it."""


class StopOnSignal(Callback):
    """On Ctrl-C or SIGTERM, finishes the step, saves last.ckpt and raises Interrupted; a second Ctrl-C stops at once.

    If a cluster's launcher handles SIGUSR2, as submitit does to requeue a job that is preempted or out of time, its
    handler is called once the checkpoint is saved.
    """

    def __init__(self, run: Run, checkpoint_callback: ResumableCheckpoint) -> None:
        self.run, self.checkpoint_callback = run, checkpoint_callback
        self.received_signal: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            requeue = [_REQUEUE_SIGNAL] if _REQUEUE_SIGNAL and callable(signal.getsignal(_REQUEUE_SIGNAL)) else []
            for signum in (signal.SIGINT, signal.SIGTERM, *requeue):
                self._previous_handlers[signum] = signal.signal(signum, self._handle_signal)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        if (signum := self._sync_signal(trainer)) is not None:
            self.checkpoint_callback.save_between_steps(trainer)
            self._stop(signum, trainer)

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Stop for a signal that came during the last step or validation; later ones meet the previous handlers."""
        if self.received_signal is not None:
            self._stop(self.received_signal, trainer)

    def _stop(self, signum: int, trainer: L.Trainer) -> None:
        """Stop after the checkpoint was saved."""
        if signum != _REQUEUE_SIGNAL:
            raise Interrupted(
                signum,
                f"stopped by {signal.Signals(signum).name} after step {trainer.global_step}, which is saved; "
                f"resume with: {format_command('train', resume=self.run.path)}",
            )
        self.received_signal = None
        self._previous_handlers[signum](signum, None)

    def _sync_signal(self, trainer: L.Trainer) -> int | None:
        """The signal to stop for; all ranks stop at the same step, whichever of them received it."""
        signum = self.received_signal  # read once: a signal that comes while ranks synchronize is for the next step
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(signum is not None, all=False):
            return signum or signal.SIGTERM
        return signum

    def _handle_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.received_signal == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.received_signal = signum


@contextmanager
def restore_signal_handlers() -> Iterator[None]:
    """Restore the signal handlers that training and Lightning change, however training ends."""
    names = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    handlers = {it: signal.getsignal(it) for it in signal.Signals if it.name in names}  # Windows lacks some
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for signum, handler in handlers.items():
                if handler is not None:  # None: it was not installed from Python
                    signal.signal(signum, handler)
