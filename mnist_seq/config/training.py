"""Optimiser, loss and trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mnist_seq.config.validation import check, check_choice

OPTIMISERS = ("adamw", "muon")
SCHEDULES = ("linear", "cosine", "constant", "wsd")
NOT_LIGHTNING = ("preset", "matmul_precision", "compile", "threads")
"""Keys of the trainer that Lightning's does not know."""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true", "32", "bf16", "16", "64")
"""Those of Lightning's that train here, and `auto`; the weights that are kept are float32."""
LOSSES = ("cross_entropy", "multiset")


@dataclass
class OptimConfig:
    """AdamW (Loshchilov & Hutter 2019), alone or beside Muon; norms, biases and positions are not decayed."""

    name: str = "adamw"
    """`adamw`, or `muon` (Jordan et al. 2024) for the matrices of the blocks and AdamW for the rest."""
    lr: float = 2e-3
    """Peak learning rate."""
    weight_decay: float = 0.05
    betas: tuple[float, ...] = (0.9, 0.98)
    momentum: float = 0.95
    """Of Muon."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    schedule: str = "linear"
    """After the warm-up: `linear` or `cosine` decay to `final_lr` at the last step, `constant`, or `wsd`: constant and
    then linear decay (Hägele et al. 2024)."""
    decay_fraction: float = 0.3
    """Share of all steps in which `wsd` decays."""
    final_lr_ratio: float = 0.0
    """Learning rate at the end of the decay, as a share of the peak."""

    def __post_init__(self) -> None:
        check(len(self.betas) == 2, f"optim.betas={[*self.betas]} must be two numbers: optim.betas=[0.9,0.98]")
        self.betas = (self.betas[0], self.betas[1])
        check_choice("optim.name", self.name, OPTIMISERS)
        check(0 < self.lr < math.inf, f"optim.lr={self.lr} must be above 0, and finite")
        check(self.weight_decay >= 0, f"optim.weight_decay={self.weight_decay} must not be negative")
        check(self.warmup_steps >= 0, f"optim.warmup_steps={self.warmup_steps} must not be negative")
        check(all(0 <= beta < 1 for beta in self.betas), f"optim.betas={self.betas} must lie in 0..1")
        check_choice("optim.schedule", self.schedule, SCHEDULES)
        check(0 <= self.momentum < 1, f"optim.momentum={self.momentum} must be at least 0 and below 1")
        for key in ("decay_fraction", "final_lr_ratio"):
            check(0 <= getattr(self, key) <= 1, f"optim.{key}={getattr(self, key)} must lie in 0..1")


@dataclass
class LossConfig:
    """What a model is taught by."""

    name: str = "cross_entropy"
    """`cross_entropy` of each target, or `multiset`: of any digit that is still to be read (Welleck et al. 2018)."""
    label_smoothing: float = 0.05
    """Share of each target's probability that is spread over all classes (Szegedy et al. 2016)."""
    shuffle: bool = False
    """Teach the digits in a random order, another one each time; multiset always does."""

    def __post_init__(self) -> None:
        smoothing = self.label_smoothing
        check_choice("loss.name", self.name, LOSSES)
        check(0 <= smoothing < 1, f"loss.label_smoothing={smoothing} must be at least 0 and below 1")


@dataclass
class TrainerConfig:
    """Arguments of Lightning's Trainer; others of them pass through (`+trainer.profiler=simple`), as far as they mean
    the same here; learn/checks.py says which do not.

    A field left null takes the value of the preset that `trainer=auto` picks, or else Lightning's.
    """

    preset: str = "auto"
    """Which preset this is; `auto` picks cpu, gpu or mps by the hardware at the start of a run."""
    max_steps: int | None = None
    """Optimiser steps."""
    accelerator: str | None = None
    devices: int | None = None
    """Of this machine, or of each node."""
    num_nodes: int | None = None
    strategy: str | None = None
    """How several devices share a run: `ddp`, each with data.batch_size scenes a step; `auto` is that too."""
    precision: str | None = None
    """32-true, bf16-mixed, ... as Lightning names them; `auto` takes bf16-mixed on a GPU or CPU that has instructions
    for bfloat16, and 32-true elsewhere."""
    matmul_precision: str | None = None
    """How exactly float32 matrices are multiplied: highest, high or medium, as torch names them; `auto` takes medium,
    which may round factors to bfloat16, on a CPU that has instructions for it."""
    compile: bool | None = None
    """Compile the model's forward pass; on CUDA with CUDA graphs."""
    val_check_interval: int | None = None
    """Batches between validations, a step each unless gradients are accumulated (then a multiple of
    accumulate_grad_batches); each writes a checkpoint."""
    log_every_n_steps: int | None = None
    gradient_clip_val: float | None = None
    """Largest norm of the gradient; 0 clips nothing."""
    threads: int | None = None
    """CPU threads that torch uses; null leaves it to torch."""

    def __post_init__(self) -> None:
        for key in ("max_steps", "val_check_interval", "log_every_n_steps", "devices", "num_nodes", "threads"):
            value = getattr(self, key)
            check(value is None or value >= 1, f"trainer.{key}={value} must be at least 1")
        known = ("auto", "highest", "high", "medium")
        if self.matmul_precision is not None:
            check_choice("trainer.matmul_precision", self.matmul_precision, known)
        clip = self.gradient_clip_val
        check(clip is None or clip >= 0, f"trainer.gradient_clip_val={clip} must be above 0, or 0 for none")
        check(
            self.precision != "16-true",
            "trainer.precision=16-true diverges, float16 has no room for the squares of gradients: "
            "choose bf16-true, or 16-mixed on a GPU",
        )
        check_choice("trainer.precision", self.precision or "auto", PRECISIONS)
        check_choice("trainer.accelerator", self.accelerator or "auto", ACCELERATORS)

    @property
    def world_size(self) -> int:
        """That train together."""
        return (self.devices or 1) * (self.num_nodes or 1)

    def lightning_kwargs(self) -> dict[str, Any]:
        """What Lightning's Trainer is given: all that is set, except what is ours."""
        return {key: value for key, value in vars(self).items() if value is not None and key not in NOT_LIGHTNING}
