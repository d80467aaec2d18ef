"""Trainer settings that depend on the hardware: device, number of devices, precision."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import OmegaConf

from mnist_seq.config import TrainerConfig
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.config.serialization import from_dict
from mnist_seq.config.validation import check
from mnist_seq.inference.device import resolve_device

DEVICE_PRESETS = {"cuda": "gpu", "mps": "mps", "cpu": "cpu"}
"""Device -> trainer preset."""


def resolve_auto(config: TrainerConfig) -> TrainerConfig:
    """Return a copy of the config with each `auto` replaced by what suits the hardware.

    Raises:
        UserError: the device does not support the precision, or is not available.
    """
    if config.preset == "auto":
        explicit = {key: value for key, value in vars(config).items() if value is not None and key != "preset"}
        preset = _load_preset(DEVICE_PRESETS[resolve_accelerator(config)])
        config = from_dict(TrainerConfig, preset | explicit)
    config = copy.copy(config)
    accelerator = resolve_accelerator(config)
    check(
        accelerator != "mps" or config.precision not in ("64", "64-true"),
        f"trainer.precision={config.precision} is not supported on mps: choose 32-true, or trainer.accelerator=cpu",
    )
    if config.devices is None:  # Lightning's default
        config.devices = torch.cuda.device_count() if accelerator == "cuda" else 1
    if config.precision == "auto":
        config.precision = "bf16-mixed" if prefers_bf16(accelerator) else "32-true"
    if config.matmul_precision == "auto":
        config.matmul_precision = "medium" if is_cpu_float32(config) and supports_fast_bf16() else "highest"
    return config


def _load_preset(name: str) -> dict[str, Any]:
    """The values of a trainer preset, without the defaults that it inherits."""
    preset = OmegaConf.load(CONFIG_DIR / "trainer" / f"{name}.yaml")
    return {str(key): value for key, value in preset.items() if key != "defaults"}


def resolve_accelerator(config: TrainerConfig) -> str:
    """Return cpu, cuda or mps: what Lightning will train on."""
    accelerator = config.accelerator or "auto"
    return resolve_device("auto") if accelerator in ("auto", "gpu") else accelerator


def supports_fast_bf16() -> bool:
    """Whether this CPU has instructions for bfloat16 matrix products.

    Without them `medium` is slower than `highest`, and bfloat16 matrices multiply fifty times slower than float32.
    """
    capabilities = cpu_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def precision_warning(config: TrainerConfig) -> str:
    """A warning where the precision does not suit this machine; else empty."""
    on_cpu = resolve_accelerator(config) == "cpu"
    if str(config.precision).startswith("bf16") and on_cpu and not supports_fast_bf16():
        return (
            f"trainer.precision={config.precision} is many times slower than 32-true here: "
            "this CPU has no instructions for bfloat16"
        )
    if config.precision in ("16", "16-mixed") and on_cpu:
        return f"trainer.precision={config.precision} runs as bf16-mixed here: torch has no float16 autocast on a CPU"
    return ""


def is_cpu_float32(config: TrainerConfig) -> bool:
    """Whether the run trains in float32 on a CPU, where the precision of matrix products can be chosen."""
    return resolve_accelerator(config) == "cpu" and str(config.precision or "32-true") in ("32", "32-true")


def cpu_capabilities() -> Mapping[str, Any]:
    """Capabilities of the CPU, as far as this version of torch reports them."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return capabilities


def prefers_bf16(accelerator: str) -> bool:
    """Whether `precision=auto` trains in bfloat16 on this device: cpu, cuda or mps."""
    if accelerator == "cpu":
        return supports_fast_bf16()
    return accelerator == "cuda" and torch.cuda.is_available() and torch.cuda.is_bf16_supported(False)
