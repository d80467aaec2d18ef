"""Describe a run before it is trained: `python -m mnist_seq.describe model=enc_dec data=grid trainer=auto`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.config import TrainConfig, TrainerConfig
from mnist_seq.cpu_cores import available_cores

if TYPE_CHECKING:
    from mnist_seq.nn.flops import Cost


def main() -> None:
    cli.run_command("describe", _job)


def _job(config: TrainConfig, run_dir: Path) -> None:
    from rich.console import Console

    from mnist_seq import provenance
    from mnist_seq.reporting import tables

    console = Console()
    console.print(tables.key_value_table(hardware_info(config), "Hardware"))
    console.print(tables.key_value_table(scene_info(config), f"Scenes of {config.data.family}"))
    console.print(tables.model_summary(model_costs(config), config.model.name))
    console.print(tables.key_value_table(provenance.package_versions(), "Packages"))


def hardware_info(config: TrainConfig) -> dict[str, Any]:
    """Device, precision, threads, steps and scenes of the run."""
    import torch

    from mnist_seq.training.hardware import resolve_auto
    from mnist_seq.training.torch_settings import choose_threads

    trainer = resolve_auto(config.trainer)
    device = (
        torch.cuda.get_device_name() if trainer.preset == "gpu" and torch.cuda.is_available() else trainer.accelerator
    )
    return {
        "trainer": trainer.preset,
        "device": f"{trainer.devices} x {device}",
        "precision": trainer.precision,
        "matmul precision": trainer.matmul_precision,
        "CPU threads": f"{trainer.threads or choose_threads()} on {available_cores()} cores",
        **_num_scenes(config, trainer),
    }


def _num_scenes(config: TrainConfig, trainer: TrainerConfig) -> dict[str, int]:
    """Steps, and training scenes of all devices; none if something other than steps ends the run."""
    if trainer.max_steps is None or trainer.max_steps < 0:
        return {}
    batches_per_step = trainer.lightning_kwargs().get("accumulate_grad_batches", 1) * trainer.world_size
    return {"steps": trainer.max_steps, "scenes": trainer.max_steps * batches_per_step * config.data.batch_size}


def scene_info(config: TrainConfig) -> dict[str, Any]:
    """Image size, longest sequence, order and cells of the scenes."""
    from mnist_seq.data import datasets

    spec = datasets.spec(config.data)
    return {
        "canvas": f"{spec.height}x{spec.width}",
        "max digits": spec.max_length,
        "output order": "ordered" if spec.ordered else "unordered",
        "cells": "two digits can share one" if spec.cells == (0, 0) else f"{spec.cells[0]}x{spec.cells[1]}",
    }


def model_costs(config: TrainConfig) -> dict[str, Cost]:
    """Parameters and FLOPs per scene of the model's parts."""
    from mnist_seq import nn
    from mnist_seq.data import datasets
    from mnist_seq.nn.flops import costs_per_scene

    return costs_per_scene(nn.build(config.model, datasets.spec(config.data)))


if __name__ == "__main__":
    main()
