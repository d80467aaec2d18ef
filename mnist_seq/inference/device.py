"""The device that a model runs on."""

from __future__ import annotations

import torch

from mnist_seq.config.validation import check


def resolve_device(name: str) -> str:
    """Return cpu, cuda or mps; `auto` is the fastest of them on this machine.

    Raises:
        UserError: this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, is_available in available.items() if is_available)
    check(available[name], f"device={name} is not available on this machine: choose device=cpu or device=auto")
    return name
