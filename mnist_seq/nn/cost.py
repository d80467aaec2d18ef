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
from mnist_seq.tokens import BOS


class Cost(NamedTuple):
    """Of a module and all within it."""

    parameters: int
    flops: int
    """Of a forward pass: two for each multiplication and addition of a matrix product; a training step takes thrice."""
    activations: int
    """Bytes that a forward pass keeps for the backward pass, weights apart."""


def per_scene(model: Model) -> dict[str, Cost]:
    """What teaching a model a scene of the longest sequence costs, by module; the whole under the empty name."""
    device = next(model.parameters()).device
    image = torch.zeros(1, 1, model.spec.height, model.spec.width, device=device)
    tokens = torch.full((1, model.spec.max_digits + 1), BOS, device=device)
    return cost(model, image, tokens) if model.reads == "sequence" else cost(model, image)


def cost(module: nn.Module, *inputs: Tensor) -> dict[str, Cost]:
    """What a forward pass costs, by module within the module; arithmetic by torch's own formulas."""
    ledger = _Ledger(module)
    with ledger.tracker, torch.autograd.graph.saved_tensors_hooks(ledger.keep, lambda kept: kept), ledger:
        module(*inputs)
    return {
        name: Cost(
            sum(weight.numel() for weight in part.parameters()),
            *(sum(it for place, it in counts.items() if _within(place, name)) for counts in ledger.counts),
        )
        for name, part in module.named_modules()
    }


class _Ledger(TorchDispatchMode):
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
            self.counts[0][self._place()] += formula(*args, **(kwargs or {}), out_val=found)
        return found

    def keep(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is kept for the backward pass, once."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.counts[1][self._place()] += storage.nbytes()
        return tensor

    def _place(self) -> str:
        innermost = max(self.tracker.parents - {"Global"}, key=len, default=self._root)
        return innermost.removeprefix(self._root).removeprefix(".")


def _within(place: str, name: str) -> bool:
    return not name or place == name or place.startswith(f"{name}.")
