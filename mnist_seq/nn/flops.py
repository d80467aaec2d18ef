"""Cost of a model: parameters, floating-point operations and memory for activations.

Shapes: none; inputs are passed on to the model.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from mnist_seq.nn.model import Model
from mnist_seq.vocabulary import BOS


class Cost(NamedTuple):
    """Cost of a module, submodules included."""

    parameters: int
    flops: int
    """Of a forward pass, two per multiply-add of a matrix product; a training step takes three times as many."""
    activation_bytes: int
    """What a forward pass saves for the backward pass, parameters excluded; here, on this device."""


def costs_per_scene(model: Model) -> dict[str, Cost]:
    """Compute the cost of each module, for one scene of the longest sequence. The key of the whole model is ""."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 1, model.spec.height, model.spec.width, device=device)
    tokens = torch.full((1, model.spec.max_length + 1), BOS, device=device)
    return module_costs(model, image, tokens) if model.output_type == "sequence" else module_costs(model, image)


def module_costs(module: nn.Module, *inputs: Tensor) -> dict[str, Cost]:
    """Compute the cost of a module's forward pass, and of each submodule; FLOPs by torch's own formulas."""
    counter = _CostCounter(module)
    with counter.tracker, torch.autograd.graph.saved_tensors_hooks(counter.count_saved, lambda saved: saved), counter:
        module(*inputs)
    return {
        name: Cost(
            sum(weight.numel() for weight in submodule.parameters()),
            _sum_within(counter.flops, name),
            _sum_within(counter.saved_bytes, name),
        )
        for name, submodule in module.named_modules()
    }


class _CostCounter(TorchDispatchMode):
    """Count FLOPs and saved bytes, each for the innermost module in which they occur."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.tracker = ModuleTracker()
        self.flops: defaultdict[str, int] = defaultdict(int)
        self.saved_bytes: defaultdict[str, int] = defaultdict(int)
        self._root = type(module).__name__
        self._counted = {weight.untyped_storage().data_ptr() for weight in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops[self._current_module()] += formula(*args, **(kwargs or {}), out_val=output)
        return output

    def count_saved(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is saved for the backward pass; storage that tensors share counts once."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._counted:
            self._counted.add(storage.data_ptr())
            self.saved_bytes[self._current_module()] += storage.nbytes()
        return tensor

    def _current_module(self) -> str:
        innermost = max(self.tracker.parents - {"Global"}, key=len, default=self._root)
        return innermost.removeprefix(self._root).removeprefix(".")


def _sum_within(counts: dict[str, int], name: str) -> int:
    return sum(count for module, count in counts.items() if not name or module == name or module.startswith(f"{name}."))
