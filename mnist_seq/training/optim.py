"""Optimizers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_seq.config import OptimConfig
from mnist_seq.config.validation import check
from mnist_seq.training.muon import Muon


def adamw(model: nn.Module, config: OptimConfig, fused: bool = True) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019). Only the weights of linear layers and convolutions decay.

    Args:
        fused: use torch's fused kernel.
    """
    return torch.optim.AdamW(_adamw_groups(model.parameters(), model, config), lr=config.lr, fused=fused)


def muon(model: nn.Module, config: OptimConfig, fused: bool = True) -> torch.optim.Optimizer:
    """Muon for the linear layers of repeated blocks and AdamW for the rest, with the same learning rate.

    Args:
        fused: use torch's fused kernel for AdamW.

    Raises:
        UserError: the model has no linear layer in an nn.ModuleList.
    """
    matrices = {
        layer.weight: None  # a set in the order of the layers
        for blocks in model.modules()
        if isinstance(blocks, nn.ModuleList)
        for layer in blocks.modules()
        if isinstance(layer, nn.Linear)
    }
    check(bool(matrices), "optim=muon is for models with linear layers in an nn.ModuleList: choose optim=adamw")
    others = (weight for weight in model.parameters() if weight not in matrices)
    return MuonWithAdamW(list(matrices), _adamw_groups(others, model, config), config, fused)


OPTIMIZERS: dict[str, Callable[[nn.Module, OptimConfig, bool], torch.optim.Optimizer]] = {"adamw": adamw, "muon": muon}


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon and AdamW as one optimizer, with one schedule and one state dict."""

    def __init__(
        self, matrices: list[Tensor], adamw_groups: list[dict[str, Any]], config: OptimConfig, fused: bool
    ) -> None:
        self.muon = Muon(matrices, config.lr, config.weight_decay, config.momentum)
        self.adamw = torch.optim.AdamW(adamw_groups, lr=config.lr, fused=fused)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        self._share_state()

    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share_state()

    def _share_state(self) -> None:
        self.muon.param_groups, self.adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self.muon.state = self.adamw.state = self.state


def lr_factor(config: OptimConfig, total_steps: int, step: int) -> float:
    """Compute the learning rate of a step as a fraction of `config.lr`.

    The rate rises linearly to its peak over `config.warmup_steps`, and then follows `config.schedule`.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    decay_steps = max(1.0, min(config.decay_fraction * total_steps, total_steps - config.warmup_steps))
    factor = {
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "constant": 1.0,
        "wsd": min(1.0, max(0.0, total_steps - step) / decay_steps),
    }[config.schedule]
    return config.final_lr_ratio + (1 - config.final_lr_ratio) * factor


def _adamw_groups(weights: Iterable[Tensor], model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Split weights into those that decay, of linear layers and convolutions, and all others."""
    decayed = {layer.weight for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))}
    groups: tuple[list[Tensor], list[Tensor]] = ([], [])
    for weight in weights:
        groups[weight not in decayed].append(weight)
    return [
        {"params": group, "weight_decay": weight_decay, "betas": config.betas}
        for group, weight_decay in zip(groups, (config.weight_decay, 0.0), strict=True)
    ]
