"""What a model costs: parameters, arithmetic, and the memory that learning takes."""

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
    """Of a module and all within it."""

    parameters: int
    flops: int
    """Of a forward pass: two for each multiplication and addition of a matrix product; a training step takes thrice."""
    activation_bytes: int
    """Bytes that a forward pass keeps for the backward pass, weights apart."""


def costs_per_scene(model: Model) -> dict[str, Cost]:
    """What teaching a model a scene of the longest sequence costs, by module; the whole under the empty name."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 1, model.spec.height, model.spec.width, device=device)
    tokens = torch.full((1, model.spec.max_length + 1), BOS, device=device)
    return module_costs(model, image, tokens) if model.output_type == "sequence" else module_costs(model, image)


def module_costs(module: nn.Module, *inputs: Tensor) -> dict[str, Cost]:
    """What a forward pass costs, by module within the module; arithmetic by torch's own formulas."""
    ledger = _CostCounter(module)
    with ledger.tracker, torch.autograd.graph.saved_tensors_hooks(ledger.count_saved, lambda kept: kept), ledger:
        module(*inputs)
    return {
        name: Cost(
            sum(weight.numel() for weight in part.parameters()),
            *(sum(it for place, it in counts.items() if _is_within(place, name)) for counts in ledger.counts),
        )
        for name, part in module.named_modules()
    }


class _CostCounter(TorchDispatchMode):
    """Writes arithmetic and memory down to the innermost module in which they come up."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.tracker = ModuleTracker()
        self.counts: tuple[defaultdict[str, int], ...] = (defaultdict(int), defaultdict(int))
        self._root = type(module).__name__
        self._seen = {weight.untyped_storage().data_ptr() for weight in (*module.parameters(), *module.buffers())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.counts[0][self._current_module()] += formula(*args, **(kwargs or {}), out_val=found)
        return found

    def count_saved(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept for the backward pass, once."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.counts[1][self._current_module()] += storage.nbytes()
        return tensor

    def _current_module(self) -> str:
        innermost = max(self.tracker.parents - {"Global"}, key=len, default=self._root)
        return innermost.removeprefix(self._root).removeprefix(".")


def _is_within(module_name: str, name: str) -> bool:
    return not name or module_name == name or module_name.startswith(f"{name}.")
