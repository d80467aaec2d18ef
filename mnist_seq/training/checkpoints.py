"""Saving a run so that it goes on to the bit: after each validation, on a signal, and after a kill at any moment."""

from __future__ import annotations

import io
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint

from mnist_seq.atomic_io import atomic_path
from mnist_seq.config.migrations import migrate_checkpoint
from mnist_seq.config.override_syntax import format_command
from mnist_seq.config.validation import check
from mnist_seq.data.datamodule import IdLoader
from mnist_seq.errors import Interrupted
from mnist_seq.run_dir import Run

_REQUEUE_SIGNAL: int | None = getattr(signal, "SIGUSR2", None)
"""What submitit has a cluster send before it ends a job; there is no such signal on Windows."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all, also where the temporary folder is on another disk."""

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return migrate_checkpoint(super().load_checkpoint(path, *args, **kwargs), path)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        torch.save(checkpoint, packed)  # to a full disk it would end in an error of its own, without the reason
        with atomic_path(Path(path)) as beside:
            beside.write_bytes(packed.getbuffer())


class ResumableCheckpoint(Checkpoint):
    """Writes last.ckpt at each validation and after the last step, and keeps the best of them as best.ckpt.

    It owns the best score, and restores the random states, so that a resumed run equals an uninterrupted one. A run
    that was stopped before its last step, by a callback or the clock, stops at once when it is resumed, unless
    trainer.max_steps is raised. Lightning's ModelCheckpoint leaves last.ckpt behind where the score did not rise, and
    forgets the best when a run is moved.

    Args:
        every_n_steps: save that often where there is no validation.
    """

    def __init__(self, run: Run, every_n_steps: int | None = None, monitor: str = "val/exact_match") -> None:
        self.run, self.monitor, self.every_n_steps = run, monitor, every_n_steps
        self.best_model_score = -1.0
        self.last_saved_step = -1
        self._stopped_within: int | None = None
        """The max_steps of a run that was stopped before them; -1 where there were none."""
        self._random: dict[str, Any] | None = None

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        within = checkpoint["callbacks"].get(self.state_key, {}).get("stopped_within")
        if within is not None:
            most = within if within > 0 else checkpoint["global_step"]
            trainer.should_stop = trainer.max_steps == within or 0 < trainer.max_steps <= most

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        batches, accumulated = trainer.num_training_batches, trainer.accumulate_grad_batches
        check(
            batches % accumulated == 0,
            f"+trainer.limit_train_batches={trainer.limit_train_batches} makes epochs of {batches} batches, which "
            f"+trainer.accumulate_grad_batches={accumulated} does not divide: leave it out, or choose a multiple",
        )
        if self._random is not None:
            set_rng_states(self._random)

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
        better = score > self.best_model_score
        self.best_model_score = max(score, self.best_model_score)
        self._save(trainer)
        if better and trainer.is_global_zero:
            with atomic_path(self.run.best_checkpoint) as beside:
                shutil.copyfile(self.run.last_checkpoint, beside)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.last_saved_step != trainer.global_step:
            self._save(trainer)

    def save_between_steps(self, trainer: L.Trainer) -> None:
        """Save at the start of a step as if its batch had not been fetched yet."""
        if self.last_saved_step == trainer.global_step:
            return
        _shift_batch_progress(trainer, -1)
        self._save(trainer)
        _shift_batch_progress(trainer, +1)

    def _save(self, trainer: L.Trainer) -> None:
        stopped = trainer.should_stop and not 0 < trainer.max_steps <= trainer.global_step
        self._stopped_within = trainer.max_steps if stopped else None
        trainer.save_checkpoint(self.run.last_checkpoint)
        self.last_saved_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best_model_score, "random": get_rng_states(), "stopped_within": self._stopped_within}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_model_score, self._random = state["best"], state["random"]


def _shift_batch_progress(trainer: L.Trainer, num_batches: int) -> None:
    """Count so many more batches as fetched."""
    if isinstance(trainer.train_dataloader, IdLoader):
        trainer.train_dataloader.num_yielded += num_batches
    progress = trainer.fit_loop.epoch_loop.batch_progress
    progress.total.ready += num_batches
    progress.current.ready += num_batches


def num_batches_seen(trainer: L.Trainer) -> int:
    """Batches that training has taken on each rank, by all the processes that a run went on in."""
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.completed)


def get_rng_states() -> dict[str, Any]:
    """Of all generators that training may use, as plain values."""
    numpy: Any = np.random.get_state()  # noqa: NPY002
    name, keys, *rest = numpy
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
    }


def set_rng_states(state: dict[str, Any]) -> None:
    """Go on where `random_state` was taken."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002


@contextmanager
def restore_signal_handlers() -> Iterator[None]:
    """What a signal does to this process is as before afterwards, however training ends: Lightning and we change it."""
    names = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
    before = {it: signal.getsignal(it) for it in (getattr(signal, name, None) for name in names) if it is not None}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for signum, handler in before.items():
                if handler is not None:  # else it was not set from Python
                    signal.signal(signum, handler)


class StopOnSignal(Callback):
    """On Ctrl-C or SIGTERM, finish the step, save last.ckpt and raise Interrupted; a second Ctrl-C stops at once.

    Where a cluster's launcher waits for SIGUSR2, as submitit does to requeue a job that is preempted or out of time, it
    gets that signal once all is saved.
    """

    def __init__(self, run: Run, checkpoint_callback: ResumableCheckpoint) -> None:
        self.run, self.checkpoint_callback = run, checkpoint_callback
        self.received_signal: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            waited_for = [_REQUEUE_SIGNAL] if _REQUEUE_SIGNAL and callable(signal.getsignal(_REQUEUE_SIGNAL)) else []
            for signum in (signal.SIGINT, signal.SIGTERM, *waited_for):
                self._before[signum] = signal.signal(signum, self._handle_signal)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return
        signum = self._sync_signal(trainer)
        if signum is None:
            return
        self.checkpoint_callback.save_between_steps(trainer)
        self._stop(signum, trainer)

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """A signal that came during the last step or validation; what comes later meets the handlers of before."""
        if self.received_signal is not None:
            self._stop(self.received_signal, trainer)

    def _stop(self, signum: int, trainer: L.Trainer) -> None:
        """Once all is saved."""
        if signum != _REQUEUE_SIGNAL:
            raise Interrupted(
                signum,
                f"stopped by {signal.Signals(signum).name} after step {trainer.global_step}, which is saved; "
                f"go on with: {format_command('train', resume=self.run.path)}",
            )
        self.received_signal = None
        self._before[signum](signum, None)

    def _sync_signal(self, trainer: L.Trainer) -> int | None:
        """What to stop for: ranks stop at the same step, whichever of them was told to."""
        signum = self.received_signal  # read once: a signal may come while ranks agree, and is for the next step
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(signum is not None, all=False):
            return signum or signal.SIGTERM
        return signum

    def _handle_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.received_signal == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.received_signal = signum
