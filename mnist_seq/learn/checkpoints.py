"""Saving a run so that it goes on to the bit: after each validation, on a signal, and after a kill at any moment."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint

from mnist_seq.data.module import IdStream
from mnist_seq.errors import Interrupted
from mnist_seq.run import Run, whole

_REQUEUE: int | None = getattr(signal, "SIGUSR2", None)
"""What submitit has a cluster send before it ends a job; there is no such signal on Windows."""


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all, also where the temporary folder is on another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole(Path(path)) as beside:
            torch.save(checkpoint, beside)


class Checkpoints(Checkpoint):
    """Writes last.ckpt at each validation and after the last step, and keeps the best of them as best.ckpt.

    It owns the best score, and restores the random states, so that a resumed run equals an uninterrupted one.
    Lightning's ModelCheckpoint leaves last.ckpt behind where the score did not rise, and forgets the best when a run
    is moved.

    Args:
        every_n_steps: save that often where there is no validation.
    """

    def __init__(self, run: Run, every_n_steps: int | None = None, monitor: str = "val/exact_match") -> None:
        self.run, self.monitor, self.every_n_steps = run, monitor, every_n_steps
        self.best = -1.0
        self.saved_at = -1
        self._random: dict[str, Any] | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self._random is not None:
            set_random_state(self._random)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.every_n_steps is None or trainer.global_step == 0 or batch_idx % trainer.accumulate_grad_batches:
            return
        if trainer.global_step % self.every_n_steps == 0:
            self.save_between_steps(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step >= trainer.max_steps > 0:
            trainer.should_stop = True  # Lightning validates before it stops, and so the last step is saved too

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        score = float(trainer.callback_metrics.get(self.monitor, torch.tensor(-1.0)))
        better = score > self.best
        self.best = max(score, self.best)
        self._save(trainer)
        if better and trainer.is_global_zero:
            with whole(self.run.best) as beside:
                shutil.copyfile(self.run.last, beside)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.saved_at != trainer.global_step:
            self._save(trainer)

    def save_between_steps(self, trainer: L.Trainer) -> None:
        """Save at the start of a step as if its batch had not been fetched yet."""
        if self.saved_at == trainer.global_step:
            return
        _count(trainer, -1)
        self._save(trainer)
        _count(trainer, +1)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.run.last)
        self.saved_at = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "random": random_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self._random = state["best"], state["random"]


def _count(trainer: L.Trainer, batches: int) -> None:
    """Count so many more batches as fetched."""
    if isinstance(trainer.train_dataloader, IdStream):
        trainer.train_dataloader.handed_out += batches
    progress = trainer.fit_loop.epoch_loop.batch_progress
    progress.total.ready += batches
    progress.current.ready += batches


def random_state() -> dict[str, Any]:
    """Of all generators that training may use, as plain values."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    name, keys, *rest = numpy
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on where `random_state` was taken."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


class StopOnSignal(Callback):
    """On Ctrl-C or SIGTERM, finish the step, save last.ckpt and raise Interrupted; a second Ctrl-C stops at once.

    Where a cluster's launcher waits for SIGUSR2, as submitit does to requeue a job that is preempted or out of time, it
    gets that signal once all is saved.
    """

    def __init__(self, run: Run, checkpoints: Checkpoints) -> None:
        self.run, self.checkpoints = run, checkpoints
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            waited_for = [_REQUEUE] if _REQUEUE and callable(signal.getsignal(_REQUEUE)) else []
            for signum in (signal.SIGINT, signal.SIGTERM, *waited_for):
                self._before[signum] = signal.signal(signum, self._receive)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        signum = self._agreed(trainer)
        if signum is None:
            return
        self.checkpoints.save_between_steps(trainer)
        if signum != _REQUEUE:
            raise Interrupted(
                signum,
                f"stopped by {signal.Signals(signum).name} after step {trainer.global_step}, which is saved; "
                f"go on with: python -m mnist_seq.train resume={self.run.path}",
            )
        self.received = None
        self._before[signum](signum, None)

    def _agreed(self, trainer: L.Trainer) -> int | None:
        """What to stop for: ranks stop at the same step, whichever of them was told to."""
        signum = self.received  # read once: a signal may come while ranks agree, and is for the next step
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(signum is not None, all=False):
            return signum or signal.SIGTERM
        return signum

    def teardown(self, trainer: L.Trainer, module: L.LightningModule, stage: str) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.received = signum
