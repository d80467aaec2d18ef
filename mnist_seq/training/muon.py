"""The Muon optimizer (Jordan et al. 2024): momentum updates with all singular values close to one.

Shapes: M weight matrices of one shape, R C its rows and columns.
"""

from __future__ import annotations

import math
from collections import defaultdict
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

    One learning rate thus suits both. In bfloat16 this equals torch.optim.Muon up to rounding, but that one supports no
    other dtype: on a CPU without bfloat16 instructions its matrix products are fifty times slower than in float32, and
    a step took twice as long as computing the gradients. It also updates one matrix at a time.

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
            by_shape = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape, matrix.device].append(matrix)
            for matrices in by_shape.values():
                self._update(matrices, group)
        return loss

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape, stacked: their products are computed together."""
        grads = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix, grad in zip(matrices, grads, strict=True):
            if not self.state[matrix]:
                self.state[matrix]["momentum_buffer"] = torch.zeros_like(grad)
        momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
        torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
        nesterov = torch.stack(torch._foreach_lerp(grads, momenta, group["momentum"]))
        updates = orthogonalize(nesterov, _matmul_dtype(nesterov.device)).to(nesterov.dtype)
        scale = 0.2 * math.sqrt(max(nesterov.shape[1:]))  # matches the root mean square of AdamW's updates
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, updates.unbind(), alpha=-group["lr"] * scale)


def orthogonalize(matrices: Float[Tensor, "M R C"], dtype: torch.dtype) -> Float[Tensor, "M R C"]:
    """Approximate the nearest semi-orthogonal matrices by Newton-Schulz iteration, which needs matrix products alone.

    The singular vectors stay. Singular values above 1/30 of the largest end up between 0.6 and 1.3.

    Args:
        dtype: of the matrix products and of the result.
    """
    wide = matrices.to(dtype)
    is_tall = matrices.size(1) > matrices.size(2)
    if is_tall:
        wide = wide.mT
    wide = wide / wide.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]  # no singular value exceeds one
    linear, cubic, quintic = _NS_COEFFICIENTS
    for _ in range(_NS_STEPS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    return wide.mT if is_tall else wide


def _matmul_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "mps" or hardware.prefers_bf16(device.type) else torch.float32
