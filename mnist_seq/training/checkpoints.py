"""Checkpoints that resume a run bit for bit: after each validation, on a signal, and after a kill at any moment."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from mnist_seq.atomic_io import atomic_path
from mnist_seq.config.migrations import migrate_checkpoint
from mnist_seq.config.validation import check
from mnist_seq.data.datamodule import IdLoader
from mnist_seq.run_dir import Run
from mnist_seq.training.rng_state import gather_rng_states, set_rng_states


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, also where the temporary folder is on another disk."""

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return migrate_checkpoint(super().load_checkpoint(path, *args, **kwargs), path)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)  # on a full disk, torch.save to a file would hide the reason
        with atomic_path(Path(path)) as temp_path:
            temp_path.write_bytes(buffer.getbuffer())


class ResumableCheckpoint(Checkpoint):
    """Writes last.ckpt at each validation and after the last step, and keeps the best of them as best.ckpt.

    It keeps the best score and restores the states of the random number generators, so that a resumed run equals an
    uninterrupted one. A run that a callback or the clock stopped before its last step stops at once when it is resumed,
    unless trainer.max_steps is raised. Lightning's ModelCheckpoint does not update last.ckpt where the score did not
    rise, and forgets the best score when a run is moved.

    Args:
        run: where the checkpoints go.
        every_n_steps: save that often where there is no validation.
        monitor: the metric of the best checkpoint; higher is better.
    """

    def __init__(self, run: Run, every_n_steps: int | None = None, monitor: str = "val/exact_match") -> None:
        self.run, self.monitor, self.every_n_steps = run, monitor, every_n_steps
        self.best_model_score = -1.0
        self.last_saved_step = -1
        self._stopped_within: int | None = None
        """The max_steps of a run that was stopped before them; -1 where there was no limit."""
        self._rng_states: list[dict[str, Any]] = []
        """Of each rank, as it was saved."""

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        stopped_within = checkpoint["callbacks"].get(self.state_key, {}).get("stopped_within")
        if stopped_within is not None:
            limit = stopped_within if stopped_within > 0 else checkpoint["global_step"]
            trainer.should_stop = trainer.max_steps == stopped_within or 0 < trainer.max_steps <= limit

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        num_batches, accumulate = trainer.num_training_batches, trainer.accumulate_grad_batches
        check(
            num_batches % accumulate == 0,
            f"+trainer.limit_train_batches={trainer.limit_train_batches} makes epochs of {num_batches} batches, which "
            f"+trainer.accumulate_grad_batches={accumulate} does not divide: leave it out, or choose a multiple",
        )
        if trainer.global_rank < len(self._rng_states):
            set_rng_states(self._rng_states[trainer.global_rank])

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
        if score <= self.best_model_score:
            self._save(trainer, self.run.last_checkpoint)
            return
        self.best_model_score = score
        self._save(trainer, self.run.best_checkpoint)  # first: after a kill in between, this validation is repeated
        if trainer.is_global_zero:
            with atomic_path(self.run.last_checkpoint) as temp_path:
                shutil.copyfile(self.run.best_checkpoint, temp_path)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.last_saved_step != trainer.global_step:
            self._save(trainer, self.run.last_checkpoint)

    def save_between_steps(self, trainer: L.Trainer) -> None:
        """Save at the start of a step, as if its batch had not been fetched yet."""
        if self.last_saved_step == trainer.global_step:
            return
        _shift_batch_progress(trainer, -1)
        self._save(trainer, self.run.last_checkpoint)
        _shift_batch_progress(trainer, +1)

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        stopped = trainer.should_stop and not 0 < trainer.max_steps <= trainer.global_step
        self._stopped_within = trainer.max_steps if stopped else None
        trainer.save_checkpoint(path)
        self.last_saved_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best_model_score, "random": gather_rng_states(), "stopped_within": self._stopped_within}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_model_score, states = state["best"], state["random"]
        self._rng_states = states if isinstance(states, list) else [states]  # earlier versions saved rank 0 alone


def _shift_batch_progress(trainer: L.Trainer, num_batches: int) -> None:
    """Add to the number of batches that count as fetched."""
    if isinstance(trainer.train_dataloader, IdLoader):
        trainer.train_dataloader.num_yielded += num_batches
    progress = trainer.fit_loop.epoch_loop.batch_progress
    progress.total.ready += num_batches
    progress.current.ready += num_batches
