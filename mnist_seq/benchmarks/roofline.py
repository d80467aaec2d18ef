"""What a training step cannot be faster than: the matrix products of its own linear layers, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class LinearMatmul(NamedTuple):
    """A linear layer's part in a training step."""

    rows: int
    in_features: int
    out_features: int
    is_first_layer: bool
    """It is the first of the model, and needs no gradient of what it gets."""

    @property
    def flops(self) -> int:
        """Forward, and backward of weights and inputs."""
        return (2 if self.is_first_layer else 3) * 2 * self.rows * self.in_features * self.out_features


def linear_matmuls(model: nn.Module, forward: Callable[[], Any]) -> list[LinearMatmul]:
    """Of each call of a linear layer, as the forward pass makes them."""
    found: list[LinearMatmul] = []

    def note(layer: nn.Linear, given: tuple[Tensor], result: Tensor) -> None:
        x = given[0]
        found.append(LinearMatmul(x.numel() // x.shape[-1], layer.in_features, layer.out_features, not x.requires_grad))

    hooks = [layer.register_forward_hook(note) for layer in model.modules() if isinstance(layer, nn.Linear)]
    forward()
    for hook in hooks:
        hook.remove()
    return found


def matmul_workload(
    matmuls: list[LinearMatmul], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Callable[[], None]:
    """Multiplies matrices as large as these, forward and backward, and does nothing else."""
    random = partial(torch.randn, device=device, dtype=dtype)
    operands = {
        it: (random(it.rows, it.in_features), random(it.out_features, it.in_features), random(it.rows, it.out_features))
        for it in set(matmuls)
    }

    @torch.no_grad()
    def multiply() -> None:
        for product in matmuls:
            x, weight, gradient = operands[product]
            _ = x @ weight.mT
            _ = gradient.mT @ x
            if not product.is_first_layer:
                _ = gradient @ weight

    return multiply
