"""Process-wide settings of torch: seeds, matmul precision, threads, and restoring what Lightning changes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mnist_seq.config import TrainerConfig
from mnist_seq.cpu_cores import available_cores, idle_cores, user_chose_threads
from mnist_seq.training.hardware import is_cpu_float32


def seed_all(seed: int) -> None:
    """Seed every random number generator that training may use.

    Lightning's `seed_everything` also sets environment variables, which would seed later runs of this process and the
    processes that it starts.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def matmul_precision(config: TrainerConfig) -> Iterator[None]:
    """Set the precision of float32 matrix products within the context.

    With `medium`, torch computes them on a CPU with oneDNN instead of MKL and lets it round the factors to bfloat16;
    results are stored in float32. On AMD processors MKL does not use AVX-512: there oneDNN is twice as fast even
    without rounding. Fused attention would then set up a product for each of its small blocks and take ten times as
    long, so attention runs unfused.
    """
    before = torch.get_float32_matmul_precision()
    unfused = config.matmul_precision == "medium" and is_cpu_float32(config)
    torch.set_float32_matmul_precision(config.matmul_precision or before)
    try:
        with sdpa_kernel(SDPBackend.MATH) if unfused else nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def restore_torch_settings() -> Iterator[None]:
    """Restore the process-wide settings that Lightning's Trainer changes, e.g. for `deterministic` and `benchmark`."""
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with ExitStack() as restore:
        restore.callback(torch.use_deterministic_algorithms, deterministic, warn_only=warn_only)
        restore.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
        restore.callback(torch.set_grad_enabled, torch.is_grad_enabled())
        yield


def choose_threads() -> int:
    """Choose the number of CPU threads for a run: OMP_NUM_THREADS where it is set, else as many as cores are idle."""
    return torch.get_num_threads() if user_chose_threads() else min(torch.get_num_threads(), idle_cores())


@contextmanager
def limit_threads(num_threads: int | None) -> Iterator[None]:
    """Set the number of CPU threads per operation within the context; None takes at most the available cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads or min(before, available_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)
