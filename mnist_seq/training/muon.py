"""The Muon optimiser (Jordan et al. 2024): momentum updates with all singular values close to one.

Shapes: R C rows and columns of a weight matrix.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mnist_seq.training import hardware

_NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5 of the polynomial that each Newton-Schulz step applies to the singular values."""
_NS_STEPS = 5


class Muon(torch.optim.Optimizer):
    """Muon for matrices of hidden layers, with updates scaled to AdamW's size (Liu et al. 2025).

    One learning rate thus suits both. In bfloat16 this equals torch.optim.Muon bit for bit, but that one supports no
    other dtype: on a CPU without bfloat16 instructions its matrix products are fifty times slower than in float32, and
    a step took twice as long as computing the gradients.

    Args:
        matrices: parameters of shape R C.
        lr: learning rate; the weights decay by lr * weight_decay per step.
        momentum: decay of the Nesterov momentum, in [0, 1).
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

    def _update(self, matrix: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        momentum = state["momentum_buffer"].lerp_(grad, 1 - group["momentum"])
        nesterov = torch.lerp(grad, momentum, group["momentum"])
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        scale = 0.2 * math.sqrt(max(matrix.shape))  # matches the root mean square of AdamW's updates
        matrix.add_(orthogonalize(nesterov, _matmul_dtype(matrix.device)), alpha=-group["lr"] * scale)


def orthogonalize(matrix: Float[Tensor, "R C"], dtype: torch.dtype) -> Float[Tensor, "R C"]:
    """Approximate the nearest semi-orthogonal matrix by Newton-Schulz iteration, which needs matrix products alone.

    The singular vectors stay. Singular values above 1/30 of the largest end up between 0.6 and 1.3.

    Args:
        dtype: of the matrix products and of the result.
    """
    wide = matrix.to(dtype)
    if matrix.size(0) > matrix.size(1):
        wide = wide.T
    wide = wide / wide.norm().clamp(min=1e-7)  # no singular value exceeds one
    linear, cubic, quintic = _NS_COEFFICIENTS
    for _ in range(_NS_STEPS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.T if matrix.size(0) > matrix.size(1) else wide


def _matmul_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" and not hardware.supports_fast_bf16() else torch.bfloat16
