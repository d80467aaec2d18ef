"""Muon (Jordan et al. 2024): steps along the momentum, whose singular values are all made about one."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mnist_seq.training import hardware

_NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, that singular values are put through: small ones grow fastest."""
_NS_STEPS = 5


class Muon(torch.optim.Optimizer):
    """For matrices of hidden layers. Updates are as large as AdamW's, so that one rate suits both (Liu et al. 2025).

    In bfloat16 it is torch.optim.Muon, bit for bit. That one knows nothing else, and a CPU without instructions for
    bfloat16 multiplies it fifty times slower than float32: a step took twice as long there as its gradients.
    """

    def __init__(self, matrices: list[Tensor], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, matrix.grad, group)
        return loss

    def _update(self, matrix: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        ahead = torch.lerp(gradient, momentum, group["momentum"])  # Nesterov's
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        like_adamw = 0.2 * math.sqrt(max(matrix.shape))
        matrix.add_(orthogonalize(ahead, _matmul_dtype(matrix.device)), alpha=-group["lr"] * like_adamw)


def orthogonalize(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix, R C, with the singular vectors of another, and singular values near one: 0.6 to 1.3, unless they were
    less than a thirtieth of the largest.

    It takes products alone (Newton and Schulz's iteration), and is fast wherever these are.

    Args:
        dtype: that the products are in.
    """
    wide = matrix.to(dtype)
    if matrix.size(0) > matrix.size(1):
        wide = wide.T
    wide = wide / wide.norm().clamp(min=1e-7)  # no singular value is above one
    linear, cubic, quintic = _NS_COEFFICIENTS
    for _ in range(_NS_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.T if matrix.size(0) > matrix.size(1) else wide


def _matmul_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" and not hardware.supports_fast_bf16() else torch.bfloat16
