"""Compiled training steps."""

from __future__ import annotations

import os
import shutil

import torch

from mnist_seq.config.validation import check
from mnist_seq.training.module import ReaderModule


def compile_forward(module: ReaderModule, device_type: str, accumulates: bool = False) -> None:
    """Compile the forward of a module's model in place. Validation runs eagerly, since its batches differ in size.

    Args:
        device_type: "cpu", or "cuda", where steps are replayed as CUDA graphs.
        accumulates: gradients are accumulated over batches; CUDA graphs would overwrite them.

    Raises:
        UserError: there is no C++ compiler on a CPU.
    """
    check(
        device_type != "cpu" or shutil.which(os.environ.get("CXX", "g++")) is not None,
        "trainer.compile=true needs a C++ compiler on a CPU: install g++, or leave it out",
    )
    module.compiled = True
    uses_graphs = device_type == "cuda" and not accumulates
    module.model.compile(dynamic=False, **{"mode": "reduce-overhead"} if uses_graphs else {})


def reset_compiled(module: ReaderModule) -> None:
    """Undo `compile_forward` and free the compiled code, which the next run of this process cannot use."""
    if module.compiled:
        module.compiled, module.model._compiled_call_impl = False, None
        torch.compiler.reset()
