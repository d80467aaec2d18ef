"""Many runs: where they run."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_seq.config.law import require


@dataclass
class DevicesConfig:
    """The slots of `hydra/launcher=devices`."""

    _target_: str = "hydra_plugins.devices_launcher.DevicesLauncher"
    slots: int | None = None
    """Jobs at a time on the CPU, its cores shared evenly; null takes the GPUs, or without any a job for each core."""
    per_device: int = 1
    """Jobs at a time on each GPU."""
    threads: int | None = None
    """CPU threads of each job; null shares the cores evenly."""

    def __post_init__(self) -> None:
        for key in ("slots", "per_device", "threads"):
            value = getattr(self, key)
            require(value is None or value >= 1, f"hydra.launcher.{key}={value} must be at least 1")
