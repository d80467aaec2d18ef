"""The matmul roofline of a training step: the time of the matrix products of its linear layers alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class LinearMatmul(NamedTuple):
    """The matrix products of one call of a linear layer in a training step."""

    rows: int
    """Input vectors: the product of all dimensions but the last."""
    in_features: int
    out_features: int
    is_first_layer: bool
    """The layer's input needs no gradient."""

    @property
    def flops(self) -> int:
        """FLOPs of the forward product and of the gradients of the weight and, unless it is first, the input."""
        return (2 if self.is_first_layer else 3) * 2 * self.rows * self.in_features * self.out_features


def linear_matmuls(model: nn.Module, forward: Callable[[], Any]) -> list[LinearMatmul]:
    """List the matrix products of the linear layers that `forward` calls, in order.

    Args:
        model: its linear layers are recorded.
        forward: a forward pass of the model, with gradients enabled.
    """
    matmuls: list[LinearMatmul] = []

    def record(layer: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> None:
        x = inputs[0]
        rows = x.numel() // x.shape[-1]
        matmuls.append(LinearMatmul(rows, layer.in_features, layer.out_features, not x.requires_grad))

    hooks = [layer.register_forward_hook(record) for layer in model.modules() if isinstance(layer, nn.Linear)]
    forward()
    for hook in hooks:
        hook.remove()
    return matmuls


def matmul_workload(
    matmuls: list[LinearMatmul], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Callable[[], None]:
    """A workload that multiplies random matrices of these sizes, forward and backward, and does nothing else."""
    random = partial(torch.randn, device=device, dtype=dtype)
    operands = {
        it: (random(it.rows, it.in_features), random(it.out_features, it.in_features), random(it.rows, it.out_features))
        for it in set(matmuls)
    }

    @torch.no_grad()
    def multiply() -> None:
        for matmul in matmuls:
            x, weight, grad_output = operands[matmul]
            _ = x @ weight.mT
            _ = grad_output.mT @ x
            if not matmul.is_first_layer:
                _ = grad_output @ weight

    return multiply
