"""The LightningModule: a model, its loss, and what is logged while it learns."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from mnist_seq.config import LossConfig, OptimConfig
from mnist_seq.config.law import require
from mnist_seq.data.module import SceneData
from mnist_seq.data.scenes import Scenes
from mnist_seq.learn import optim
from mnist_seq.learn.loggers import logs_at
from mnist_seq.learn.losses import plainly, require_use, taught
from mnist_seq.learn.metrics import ReadingScore
from mnist_seq.learn.trainer import last_step
from mnist_seq.nn import card
from mnist_seq.nn.model import Model
from mnist_seq.plain import plain
from mnist_seq.use.weights import Transfer


class ReaderModule(L.LightningModule):
    """Teaches a model to read scenes; works in any Trainer."""

    def __init__(self, model: Model, optim: OptimConfig, loss: LossConfig) -> None:
        super().__init__()
        require_use(loss, model, model.spec)
        self.model = model
        self.optim_config, self.loss_config = optim, loss
        self.begins_with: Transfer | None = None
        self.learnt_val: list[str] = []
        """Sources of digits of which those of val are learnt too, here or by what it begins with."""
        self.compiled = False
        self.score = ReadingScore()

    def compile_forward(self, kind: str) -> None:
        """Compile what training calls, in place; validation, whose batches have another size, stays as it is.

        Args:
            kind: cpu, or cuda, where steps are replayed as CUDA graphs.
        """
        require(
            kind != "cpu" or shutil.which(os.environ.get("CXX", "g++")) is not None,
            "trainer.compile=true needs a C++ compiler on a CPU: install g++, or leave it out",
        )
        self.compiled = True
        self.model.compile(dynamic=False, **{"mode": "reduce-overhead"} if kind == "cuda" else {})

    def forget_compiled(self) -> None:
        """Back to Python, and free what was compiled: the next run of this process compiles for itself."""
        if self.compiled:
            self.compiled, self.model._compiled_call_impl = False, None
            torch.compiler.reset()

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer.global_rank:
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)  # dropout of its own

    def training_step(self, scenes: Scenes, batch_idx: int) -> Tensor:
        went = taught(self.model, scenes, self.loss_config)
        share = self._share(went.total)
        loss = went.loss * share if self.loss_config.reduction == "mean" else went.loss
        if self._logs_now():
            self._log("train/loss", loss)
            self._log("train/accuracy", went.right / went.total * share)
            self._log("train/lr", torch.tensor(self.optimizers().param_groups[0]["lr"]))  # type: ignore[union-attr]
            self._log("step", torch.tensor(self.global_step + 1.0))
        return loss

    def validation_step(self, scenes: Scenes, batch_idx: int) -> None:
        with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():
            readout, went = self.model.read(scenes.images), taught(self.model, scenes, plainly(self.loss_config))
        self.score.update(readout, scenes.digits, went, self.model.spec.ordered)

    def on_validation_epoch_end(self) -> None:
        for name, value in self.score.compute().items():
            self.log(f"val/{name}", value.float())
        self.log("step", torch.tensor(float(self.global_step)))
        self.score.reset()

    def test_step(self, scenes: Scenes, batch_idx: int) -> None:
        self.validation_step(scenes, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value.float() for name, value in self.score.compute().items()})
        self.score.reset()

    def predict_step(self, scenes: Scenes, batch_idx: int) -> Tensor:
        """Digits of each scene; B N, PAD after the last."""
        return self.model.read(scenes.images).digits

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        weights = [weight for weight in self.parameters() if weight.grad is not None]
        if gradient_clip_algorithm == "value":
            norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            norm = torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val or torch.inf)
        if self._logs_now():
            self._log("train/gradient_norm", norm)

    def configure_optimizers(self) -> Any:
        fused = self.trainer.precision != "16-mixed"  # else a step would unscale gradients that are clipped already
        optimizer = optim.OPTIMISERS[self.optim_config.name](self.model, self.optim_config, fused)
        steps = last_step(self.trainer)
        require(
            steps is not None or self.optim_config.schedule == "constant",
            f"optim.schedule={self.optim_config.schedule} ends with the last step, and there is none: "
            "give trainer.max_steps, or choose optim.schedule=constant",
        )
        schedule = partial(_factor, self.optim_config, steps or 0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        about = card(self.model) | {"loss": plain(self.loss_config), "learnt_val": self.learnt_val}
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, SceneData):
            about |= {"data": plain(data.config), "digits": data.source}
        checkpoint["reader"] = about

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.learnt_val = checkpoint["reader"].get("learnt_val", self.learnt_val)

    def _share(self, targets: Tensor) -> Tensor | float:
        """What a rank's mean over its targets counts in the mean over ranks, which then is that over all targets."""
        if self._trainer is None or self._trainer.world_size == 1:
            return 1.0
        mean: Tensor = self._trainer.strategy.reduce(targets.float(), reduce_op="mean")
        return targets / mean

    def _logs_now(self) -> bool:
        """Whether Lightning will hand this step's figures to the loggers."""
        trainer = self._trainer
        return trainer is not None and logs_at(trainer, self.global_step + 1)

    def _log(self, name: str, value: Tensor) -> None:
        self.log(name, value, batch_size=1, sync_dist=True)


def _factor(config: OptimConfig, steps: int, step: int) -> float:
    return optim.share_of_peak(config, step, steps)
