"""What goes on beside the training loop: precision, divergence, speed, pictures, histograms."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from mnist_seq.config import TrainerConfig
from mnist_seq.errors import DivergedError
from mnist_seq.run_dir import Run
from mnist_seq.training import hardware
from mnist_seq.training.steps import should_log


class StopOnDivergence(Callback):
    """Stops where the loss is not finite; asks the device only every few steps.

    Nothing is saved of such a step, whoever saves: whatever goes into a checkpoint is looked at first, weights and the
    optimiser's averages too, which a gradient spoils a step before the loss shows it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._finite: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        finite = torch.isfinite(outputs["loss"].detach())
        self._finite = finite if self._finite is None else self._finite & finite
        if should_log(trainer, trainer.global_step):
            self._check(trainer)

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._check(trainer, [*module.parameters()])

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        averages = [
            value
            for optimizer in trainer.optimizers
            for state in optimizer.state.values()
            for value in state.values()
            if isinstance(value, torch.Tensor)
        ]
        self._check(trainer, [*module.parameters(), *averages])

    def _check(self, trainer: L.Trainer, weights: list[torch.Tensor] | None = None) -> None:
        finite = [] if self._finite is None else [self._finite]
        finite += [torch.isfinite(weight.detach()).all().to(trainer.strategy.root_device) for weight in weights or []]
        diverged = bool(finite) and not bool(torch.stack(finite).all())
        if trainer.world_size > 1:
            diverged = trainer.strategy.reduce_boolean_decision(diverged, all=False)  # all of them stop
        if diverged:
            kept = (
                f"the last good checkpoint is {self.run.last_checkpoint}"
                if self.run.last_checkpoint.exists()
                else "nothing was saved yet"
            )
            raise DivergedError(
                f"the loss, or a weight, is not finite any more by step {trainer.global_step}: {kept}; "
                "try a lower optim.lr, a longer optim.warmup_steps or a smaller trainer.gradient_clip_val"
            )


class MatmulPrecision(Callback):
    """Steps multiply matrices as exactly as the config asks; validation is exact, and agrees with `evaluate`."""

    def __init__(self, config: TrainerConfig) -> None:
        self.config = config
        self._within = ExitStack()

    def on_train_batch_start(self, *_: Any) -> None:
        self._within.enter_context(hardware.matmul_precision(self.config))

    def on_train_batch_end(self, *_: Any) -> None:
        self._within.close()

    def on_exception(self, *_: Any) -> None:
        self._within.close()


class Throughput(Callback):
    """Scenes a second of training, validation apart; seconds that a run has taken in all, whatever stopped it."""

    def __init__(self) -> None:
        self._before, self._began = 0.0, time.time()
        self.train_seconds = 0.0
        self.num_scenes = 0
        self.scenes_per_second = 0.0
        self._since: float | None = None
        self._window = (0.0, 0)

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self._since = self._since or time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.num_scenes += len(batch.digits) * trainer.world_size
        if should_log(trainer, trainer.global_step):
            self._pause()
            seconds, scenes = self.train_seconds - self._window[0], self.num_scenes - self._window[1]
            self._window = (self.train_seconds, self.num_scenes)
            self.scenes_per_second = scenes / max(seconds, 1e-9)
            module.log("train/scenes_per_second", self.scenes_per_second, batch_size=1)
            self._since = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._pause()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self._pause()

    @property
    def mean_scenes_per_second(self) -> float:
        """Over the whole of this process's training."""
        return self.num_scenes / self.train_seconds if self.train_seconds else 0.0

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of this process and, up to their checkpoints, of those that it goes on from."""
        return self._before + time.time() - self._began

    def state_dict(self) -> dict[str, float]:
        return {"spent": self.elapsed_seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self._before = state["spent"]

    def _pause(self) -> None:
        if self._since is not None:
            self.train_seconds += time.perf_counter() - self._since
            self._since = None


class LogPredictions(Callback):
    """Sends a sheet of validation scenes with their readings to the loggers that take pictures."""

    def __init__(self, num_scenes: int = 16) -> None:
        self.num_scenes = num_scenes

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        takers = list(self._image_loggers(trainer))
        if trainer.sanity_checking or not takers:
            return
        from mnist_seq.reporting import plots

        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        val = data.datasets["val"]
        scenes = val[: self.num_scenes]
        readout = module.model.read(scenes.images.to(module.device))  # type: ignore[operator, union-attr]
        picture = plots.as_array(plots.prediction_grid(scenes, readout, data.notice, val.spec.ordered))
        for logger in takers:
            if hasattr(logger, "log_image"):
                logger.log_image("readings", [picture], step=trainer.global_step)
            else:
                logger.experiment.add_image("readings", picture, trainer.global_step, dataformats="HWC")

    @staticmethod
    def _image_loggers(trainer: L.Trainer) -> Iterator[Any]:
        for logger in trainer.loggers:
            if hasattr(logger, "log_image") or hasattr(getattr(logger, "experiment", None), "add_image"):
                yield logger


class GradientHistograms(Callback):
    """Sends a histogram of each weight's gradient to the loggers that take them (W&B, TensorBoard)."""

    def __init__(self, every_n_steps: int = 200) -> None:
        self.every_n_steps = every_n_steps

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
