"""The machine and the packages that a timing was taken with."""

from __future__ import annotations

import platform
from typing import Any

import torch

from mnist_seq.provenance import git_revision, package_versions
from mnist_seq.training.hardware import cpu_capabilities


def environment_info(device: str, *packages: str) -> dict[str, Any]:
    """Describe the machine, the package versions and the revision.

    Args:
        device: of the measurements that do not name one: cpu, cuda or mps.
        packages: further packages to list.
    """
    return {
        "processor": cpu_capabilities().get("cpu_name") or platform.processor(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "versions": package_versions(*packages),
        "revision": git_revision(),
    }
