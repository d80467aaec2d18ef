"""The LightningModule: a model, its loss, and what is logged in training.

Shapes: B batch, N longest sequence.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import lightning as L
import torch
from jaxtyping import Int
from torch import Tensor

from mnist_seq.config import LossConfig, OptimConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.config.validation import check
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.data.render import SceneBatch
from mnist_seq.inference.init_from import InitReport
from mnist_seq.inference.weights import make_card
from mnist_seq.nn.losses import check_loss, compute_loss, for_eval
from mnist_seq.nn.model import Model
from mnist_seq.training.metrics import SequenceMetrics
from mnist_seq.training.optim import OPTIMIZERS, lr_factor
from mnist_seq.training.steps import should_log, total_steps


class ReaderModule(L.LightningModule):
    """Train and validate a model; works in any Trainer."""

    def __init__(self, model: Model, optim: OptimConfig, loss: LossConfig) -> None:
        super().__init__()
        check_loss(loss, model, model.spec)
        self.model = model
        self.optim_config, self.loss_config = optim, loss
        self.init_report: InitReport | None = None
        self.trained_on: dict[str, Any] = {"trained_on_val": [], "trained_images": ""}
        """Digit sources whose val digits were trained on, and digests of trained images, with those of init_from."""
        self.compiled = False
        self.metrics = SequenceMetrics()

    def without_compilation(self) -> AbstractContextManager[Any]:
        """Run the model as it is: each new shape of validation scenes would compile it anew."""
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trainer.global_rank:
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)  # each rank draws its own dropout

    def on_train_start(self) -> None:
        """Continue at the rate of this run's schedule; a checkpoint of a shorter run has that of its own."""
        factor = lr_factor(self.optim_config, total_steps(self.trainer) or 0, self.global_step)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = group["initial_lr"] * factor

    def training_step(self, batch: SceneBatch, batch_idx: int) -> Tensor:
        out = compute_loss(self.model, batch, self.loss_config)
        weight = self._rank_weight(out.num_targets)
        loss = out.loss * weight
        if self._should_log():
            self._log("train/loss", loss)
            self._log("train/accuracy", out.num_correct / out.num_targets * weight)
            self.log("train/lr", self.optimizers().param_groups[0]["lr"], batch_size=1)  # type: ignore[union-attr]
            self.log("step", self.global_step + 1.0, batch_size=1)
        return loss

    def validation_step(self, batch: SceneBatch, batch_idx: int) -> None:
        # without autocast, so that the scores are those of `evaluate`
        with self.without_compilation(), torch.autocast(self.device.type, enabled=False):
            predictions = self.model.read(batch.images)
            out = compute_loss(self.model, batch, for_eval(self.loss_config))
        self.metrics.update(predictions, batch.digits, out, self.model.spec.ordered)

    def on_validation_epoch_end(self) -> None:
        for name, value in self.metrics.compute().items():
            self.log(f"val/{name}", value.float())
        self.log("step", float(self.global_step))
        self.metrics.reset()

    def test_step(self, batch: SceneBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        self.log_dict({f"test/{name}": value.float() for name, value in self.metrics.compute().items()})
        self.metrics.reset()

    def predict_step(self, batch: SceneBatch, batch_idx: int) -> Int[Tensor, "B N"]:
        """Predict the digits of each scene, PAD after the last."""
        return self.model.read(batch.images).digits

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        weights = [weight for weight in self.parameters() if weight.grad is not None]
        if gradient_clip_algorithm == "value":
            norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
            torch.nn.utils.clip_grad_value_(weights, gradient_clip_val or torch.inf)  # Lightning's refuses fused steps
        else:
            norm = torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val or torch.inf)
        if self._should_log():
            self._log("train/gradient_norm", norm)

    def configure_optimizers(self) -> Any:
        config = self.optim_config
        fused = self.trainer.precision != "16-mixed"  # a fused step would unscale gradients that are clipped already
        optimizer = OPTIMIZERS[config.name](self.model, config, fused)
        steps = total_steps(self.trainer)
        check(
            steps is not None or config.schedule == "constant",
            f"optim.schedule={config.schedule} needs a last step, and this run has none: "
            "set trainer.max_steps, or choose optim.schedule=constant",
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(lr_factor, config, steps or 0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        card = make_card(self.model) | {"loss": to_dict(self.loss_config)} | self.trained_on
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, SceneDataModule):
            card |= {"data": to_dict(data.config), "digits": data.source}
        checkpoint["model_card"] = card

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.trained_on = {key: checkpoint["model_card"].get(key, value) for key, value in self.trained_on.items()}

    def _rank_weight(self, num_targets: Tensor) -> Tensor | float:
        """Weight of this rank's mean, with which the mean over ranks is the mean over all targets."""
        if self._trainer is None or self._trainer.world_size == 1:
            return 1.0
        mean: Tensor = self._trainer.strategy.reduce(num_targets.float(), reduce_op="mean")
        return num_targets / mean

    def _should_log(self) -> bool:
        return self._trainer is not None and should_log(self._trainer, self.global_step + 1)

    def _log(self, name: str, value: Tensor) -> None:
        self.log(name, value, batch_size=1, sync_dist=True)
