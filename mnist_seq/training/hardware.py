"""What this machine makes of training: which preset suits it, how exactly it multiplies, what it does with memory."""

from __future__ import annotations

import copy
import platform
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch.nn.attention import SDPBackend, sdpa_kernel

from mnist_seq.config import TrainerConfig
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.config.serialization import from_dict
from mnist_seq.config.validation import check
from mnist_seq.provenance import git_revision, package_versions

DEVICE_PRESETS = {"cuda": "gpu", "mps": "mps", "cpu": "cpu"}
"""Device -> trainer preset."""


def resolve_auto(config: TrainerConfig) -> TrainerConfig:
    """The config with what `auto` leaves open decided by the hardware; what is set stays."""
    if config.preset == "auto":
        chosen = {key: value for key, value in vars(config).items() if value is not None and key != "preset"}
        config = from_dict(TrainerConfig, _load_preset(DEVICE_PRESETS[resolve_accelerator(config)]) | chosen)
    config = copy.copy(config)
    check(
        resolve_accelerator(config) != "mps" or config.precision not in ("64", "64-true"),
        f"trainer.precision={config.precision} is not to be had on mps: choose 32-true, or trainer.accelerator=cpu",
    )
    if config.devices is None:  # as many as Lightning would take
        config.devices = torch.cuda.device_count() if resolve_accelerator(config) == "cuda" else 1
    if config.precision == "auto":
        config.precision = "bf16-mixed" if _prefers_bf16(resolve_accelerator(config)) else "32-true"
    if config.matmul_precision == "auto":
        config.matmul_precision = "medium" if _is_cpu_float32(config) and supports_fast_bf16() else "highest"
    return config


def _load_preset(name: str) -> dict[str, Any]:
    """The values of a trainer preset, without the defaults that it inherits."""
    preset = OmegaConf.load(CONFIG_DIR / "trainer" / f"{name}.yaml")
    return {str(key): value for key, value in preset.items() if key != "defaults"}


def resolve_accelerator(config: TrainerConfig) -> str:
    """cpu, cuda or mps: what Lightning will train on."""
    named = config.accelerator or "auto"
    return resolve_device("auto") if named in ("auto", "gpu") else named


def resolve_device(name: str) -> str:
    """cpu, cuda or mps; `auto` is the best of them that is there.

    Raises:
        ValueError: a device that this machine does not have.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(kind for kind, found in there.items() if found)
    check(there[name], f"device={name} is not to be had on this machine: choose device=cpu, or device=auto")
    return name


def supports_fast_bf16() -> bool:
    """Whether this CPU has instructions for products of bfloat16; without them, `medium` is slower than `highest`, and
    matrices of bfloat16 are multiplied fifty times slower than float32."""
    return bool(_cpu_capabilities().get("avx512_bf16") or _cpu_capabilities().get("amx_bf16"))


def precision_warning(config: TrainerConfig) -> str:
    """What is better known before training as the config asks; empty where that suits this machine."""
    if str(config.precision).startswith("bf16") and resolve_accelerator(config) == "cpu" and not supports_fast_bf16():
        return (
            f"trainer.precision={config.precision} takes many times as long as 32-true here: "
            "this CPU has no instructions for bfloat16"
        )
    if config.precision in ("16", "16-mixed") and resolve_accelerator(config) == "cpu":
        return f"trainer.precision={config.precision} is bf16-mixed here: torch mixes no float16 on a CPU"
    return ""


def seed_all(seed: int) -> None:
    """Of every generator that training may use. Lightning's `seed_everything` leaves variables in the environment too,
    by which a later run of this process, or a process that it starts, would be seeded anew."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def matmul_precision(config: TrainerConfig) -> Iterator[None]:
    """Float32 matrices are multiplied as exactly as the config asks, within.

    With `medium` torch leaves a CPU's products to oneDNN instead of MKL, and allows it to round factors to bfloat16;
    all that is kept stays float32. On AMD processors MKL does without AVX-512: there oneDNN is twice as fast, and
    rounds nothing. Fused attention would set up a product for each of its small blocks then, and take ten times as
    long: attention is a softmax between two products instead.
    """
    before = torch.get_float32_matmul_precision()
    rounds = config.matmul_precision == "medium" and _is_cpu_float32(config)
    torch.set_float32_matmul_precision(config.matmul_precision or before)
    try:
        with sdpa_kernel(SDPBackend.MATH) if rounds else nullcontext():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def restore_torch_settings() -> Iterator[None]:
    """What Lightning's Trainer sets for the whole process, as for its `deterministic` and `benchmark`, ends here."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, gradients = torch.backends.cudnn.benchmark, torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.set_grad_enabled(gradients)


@contextmanager
def limit_threads(num_threads: int | None) -> Iterator[None]:
    """So many CPU threads share an operation, within; None leaves it to torch."""
    if num_threads is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def environment_info(device: str, *packages: str) -> dict[str, Any]:
    """What a timing was taken on and with.

    Args:
        packages: whose versions count, beside our own.
    """
    processor = _cpu_capabilities().get("cpu_name") or platform.processor()
    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else processor,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "versions": package_versions(*packages),
        "revision": git_revision(),
    }


def _prefers_bf16(accelerator: str) -> bool:
    return (
        supports_fast_bf16() if accelerator == "cpu" else accelerator == "cuda" and torch.cuda.is_bf16_supported(False)
    )


def _is_cpu_float32(config: TrainerConfig) -> bool:
    """On a CPU: where the precision of float32 products is ours to choose."""
    return resolve_accelerator(config) == "cpu" and str(config.precision or "32-true") in ("32", "32-true")


def _cpu_capabilities() -> Mapping[str, Any]:
    """Of the CPU, as far as this version of torch tells."""
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return found
