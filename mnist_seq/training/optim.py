"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mnist_seq.config import OptimConfig
from mnist_seq.config.validation import check
from mnist_seq.training.muon import Muon


def adamw(model: nn.Module, config: OptimConfig, fused: bool = True) -> torch.optim.Optimizer:
    """AdamW that decays what linear layers and convolutions multiply by; all else is left alone."""
    weights = _decayed_parameters(model)
    return torch.optim.AdamW(
        _param_groups(weights, _other_parameters(model, weights), config), lr=config.lr, fused=fused
    )


def muon(model: nn.Module, config: OptimConfig, fused: bool = True) -> torch.optim.Optimizer:
    """Muon for the matrices of repeated blocks, and AdamW as above for the rest; the same rate suits both.

    Raises:
        ValueError: a model without blocks in an nn.ModuleList.
    """
    hidden = {
        id(layer.weight): layer.weight
        for stack in model.modules()
        if isinstance(stack, nn.ModuleList)
        for layer in stack.modules()
        if isinstance(layer, nn.Linear)
    }
    check(bool(hidden), "optim=muon is for models with linear layers in an nn.ModuleList: choose optim=adamw")
    weights = [weight for weight in _decayed_parameters(model) if id(weight) not in hidden]
    matrices = list(hidden.values())
    return MuonWithAdamW(
        matrices, _param_groups(weights, _other_parameters(model, [*matrices, *weights]), config), config, fused
    )


OPTIMIZERS: dict[str, Callable[[nn.Module, OptimConfig, bool], torch.optim.Optimizer]] = {"adamw": adamw, "muon": muon}


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers under one schedule and in one checkpoint: their groups and states are this one's."""

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


def lr_factor(config: OptimConfig, step: int, total_steps: int) -> float:
    """The learning rate at a step of so many, as a share of the peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    passed = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    decaying = max(1.0, min(config.decay_fraction * total_steps, total_steps - config.warmup_steps))
    falling = {
        "linear": 1 - passed,
        "cosine": (1 + math.cos(math.pi * passed)) / 2,
        "constant": 1.0,
        "wsd": min(1.0, max(0.0, total_steps - step) / decaying),
    }[config.schedule]
    return config.final_lr_ratio + (1 - config.final_lr_ratio) * falling


def _decayed_parameters(model: nn.Module) -> list[Tensor]:
    return [layer.weight for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


def _other_parameters(model: nn.Module, excluded: list[Tensor]) -> list[Tensor]:
    chosen = {id(weight) for weight in excluded}
    return [weight for weight in model.parameters() if id(weight) not in chosen]


def _param_groups(decayed: list[Tensor], others: list[Tensor], config: OptimConfig) -> list[dict[str, Any]]:
    return [
        {"params": decayed, "weight_decay": config.weight_decay, "betas": config.betas},
        {"params": others, "weight_decay": 0.0, "betas": config.betas},
    ]
