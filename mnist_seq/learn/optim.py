"""Optimiser and learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from mnist_seq.config import OptimConfig


def adamw(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW that decays the matrices of linear layers; norms, biases, embeddings and positions are left alone."""
    matrices = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear)]
    decayed = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in decayed]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def share_of_peak(config: OptimConfig, step: int, steps: int) -> float:
    """The learning rate at a step of so many, as a share of the peak.

    Raises:
        ValueError: a schedule that is not known.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    passed = min(1.0, (step - config.warmup_steps) / max(1, steps - config.warmup_steps))
    falling = {"linear": 1 - passed, "cosine": (1 + math.cos(math.pi * passed)) / 2, "constant": 1.0}[config.schedule]
    return config.final_lr + (1 - config.final_lr) * falling
