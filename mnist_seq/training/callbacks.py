"""Callbacks: stop at a score or on divergence; matmul precision, throughput; predictions and histograms for loggers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import Logger

from mnist_seq.config import TrainerConfig
from mnist_seq.config.validation import check
from mnist_seq.errors import DivergedError
from mnist_seq.run_dir import Run
from mnist_seq.training import torch_settings
from mnist_seq.training.steps import should_log_now


class StopAtScore(EarlyStopping):
    """Lightning's EarlyStopping, but training also stops at a score that equals `stopping_threshold`, such as 1.0."""

    mode_dict = {**EarlyStopping.mode_dict, "max": torch.ge}  # noqa: RUF012
    order_dict = {**EarlyStopping.order_dict, "max": ">="}  # noqa: RUF012


class StopOnDivergence(Callback):
    """Stops training when the loss is NaN or infinite; it synchronizes with the device only at logged steps.

    Such a step is never saved, whichever callback saves: before each checkpoint, the weights and the optimizer's
    averages are checked as well. An infinite gradient spoils them one step before the loss shows it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._finite = torch.tensor(True)
        """Whether all losses so far were finite; on the device from the first step on."""

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any) -> None:
        self._finite = self._finite & torch.isfinite(outputs["loss"].detach())
        if should_log_now(trainer):
            self._check(trainer)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._check(trainer, [*module.parameters()])

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        states = [state for optimizer in trainer.optimizers for state in optimizer.state.values()]
        averages = [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
        self._check(trainer, [*module.parameters(), *averages])

    def _check(self, trainer: L.Trainer, weights: Sequence[torch.Tensor] = ()) -> None:
        finite = [self._finite, *(torch.isfinite(weight.detach()).all() for weight in weights)]
        diverged = not torch.stack([it.to(trainer.strategy.root_device) for it in finite]).all()
        if trainer.world_size > 1:
            diverged = trainer.strategy.reduce_boolean_decision(diverged, all=False)  # all ranks stop
        if diverged:
            last = self.run.last_checkpoint
            saved = f"the last good checkpoint is {last}" if last.exists() else "nothing was saved yet"
            raise DivergedError(
                f"the loss or a weight is NaN or infinite at step {trainer.global_step}: {saved}; "
                "try a lower optim.lr, a longer optim.warmup_steps or a smaller trainer.gradient_clip_val"
            )


class MatmulPrecision(Callback):
    """Sets the matmul precision of the config for training steps only, so that validation agrees with `evaluate`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config
        self._stack = ExitStack()

    def on_train_batch_start(self, *_: Any) -> None:
        self._stack.enter_context(torch_settings.matmul_precision(self.config))

    def on_train_batch_end(self, *_: Any) -> None:
        self._stack.close()

    def on_exception(self, *_: Any) -> None:
        self._stack.close()


class Throughput(Callback):
    """Measures scenes per second of training, without validation, and the total time of a run across resumes."""

    def __init__(self) -> None:
        self._seconds_before, self._start_time = 0.0, time.time()
        self.train_seconds = 0.0
        self.num_scenes = 0
        self.scenes_per_second = 0.0
        self._resumed_at: float | None = None
        self._window_start = (0.0, 0)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self._resumed_at = self._resumed_at or time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.num_scenes += len(batch.digits) * trainer.world_size
        if should_log_now(trainer):
            self._pause()
            seconds, scenes = self.train_seconds - self._window_start[0], self.num_scenes - self._window_start[1]
            self._window_start = (self.train_seconds, self.num_scenes)
            self.scenes_per_second = scenes / max(seconds, 1e-9)
            module.log("train/scenes_per_second", self.scenes_per_second, batch_size=1)
            self._resumed_at = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._pause()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._pause()

    @property
    def mean_scenes_per_second(self) -> float:
        """Mean over the training of this process."""
        return self.num_scenes / self.train_seconds if self.train_seconds else 0.0

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of this process, plus those of earlier processes up to the checkpoints that were resumed."""
        return self._seconds_before + time.time() - self._start_time

    def state_dict(self) -> dict[str, float]:
        return {"spent": self.elapsed_seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._seconds_before = state["spent"]

    def _pause(self) -> None:
        if self._resumed_at is not None:
            self.train_seconds += time.perf_counter() - self._resumed_at
            self._resumed_at = None


class LogPredictions(Callback):
    """Logs a grid of validation scenes with their predictions to the loggers that accept images."""

    def __init__(self, num_scenes: int = 16) -> None:
        self.num_scenes = num_scenes

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """At the start, since averaged weights are in the model during an epoch of validation alone."""
        image_loggers: list[Any] = [it for it in trainer.loggers if _accepts_images(it)]
        if trainer.sanity_checking or not image_loggers:
            return
        from mnist_seq.reporting import plots

        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        val = data.datasets["val"]
        batch = val[: self.num_scenes]
        with module.without_compilation():  # type: ignore[operator]
            output = module.model.read(batch.images.to(module.device))  # type: ignore[operator, union-attr]
        image = plots.as_array(plots.prediction_grid(batch, output, data.notice, val.spec.ordered))
        for logger in image_loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("predictions", [image], step=trainer.global_step)
            else:
                logger.experiment.add_image("predictions", image, trainer.global_step, dataformats="HWC")


def _accepts_images(logger: Logger) -> bool:
    return hasattr(logger, "log_image") or hasattr(getattr(logger, "experiment", None), "add_image")


def _accepts_histograms(logger: Logger) -> bool:
    return hasattr(getattr(logger, "experiment", None), "add_histogram") or type(logger).__name__ == "WandbLogger"


class GradientHistograms(Callback):
    """Logs a histogram of each parameter's gradient to the loggers that accept them (W&B, TensorBoard).

    Raises:
        UserError: when training starts, if there is no such logger.
    """

    def __init__(self, every_n_steps: int = 200) -> None:
        self.every_n_steps = every_n_steps

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        accepted = not trainer.is_global_zero or any(_accepts_histograms(it) for it in trainer.loggers)
        check(accepted, "callbacks=gradient_histograms has no logger to write to: add logger=tensorboard or wandb")

    def on_before_optimizer_step(self, trainer: L.Trainer, module: L.LightningModule, optimizer: Any) -> None:
        step = trainer.global_step + 1
        if step % self.every_n_steps:
            return
        for name, weight in module.named_parameters():
            if weight.grad is None:
                continue
            gradient = weight.grad.detach().float().cpu()
            for logger in trainer.loggers:
                experiment: Any = getattr(logger, "experiment", None)
                if hasattr(experiment, "add_histogram"):
                    experiment.add_histogram(f"gradient/{name}", gradient, step)
                elif type(logger).__name__ == "WandbLogger":
                    import wandb

                    experiment.log({f"gradient/{name}": wandb.Histogram(gradient.tolist())}, commit=False)
