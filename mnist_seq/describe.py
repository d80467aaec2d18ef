"""Say what a run would use: `python -m mnist_seq.describe model=enc_dec data=grid trainer=auto`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.config import TrainConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.nn.cost import Cost


def main() -> None:
    command.run("describe", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq import provenance
    from mnist_seq.figures import tables

    config = command.typed(cfg, TrainConfig)
    console = Console()
    console.print(tables.facts(hardware(config), "Hardware"))
    console.print(tables.facts(problem(config), f"Scenes of {config.data.family}"))
    console.print(tables.costs(costs(config), config.model.name))
    console.print(tables.facts(provenance.versions(), "Packages"))


def hardware(config: TrainConfig) -> dict[str, Any]:
    """Which device and precision a run would use, and for how long."""
    import torch

    from mnist_seq.learn.machine import suited

    trainer = suited(config.trainer)
    device = (
        torch.cuda.get_device_name() if trainer.preset == "gpu" and torch.cuda.is_available() else trainer.accelerator
    )
    return {
        "trainer": trainer.preset,
        "device": f"{trainer.devices} x {device}",
        "precision": trainer.precision,
        "matrix products": trainer.matmul_precision,
        "CPU threads": trainer.threads or torch.get_num_threads(),
        "steps": trainer.max_steps,
        "scenes": (trainer.max_steps or 0) * config.data.batch_size,
    }


def problem(config: TrainConfig) -> dict[str, Any]:
    """The shape of what is to be read."""
    from mnist_seq.data import sets

    spec = sets.spec(config.data)
    return {
        "canvas": f"{spec.height}x{spec.width}",
        "most digits": spec.max_digits,
        "read": "in order" if spec.ordered else "as a set",
        "cells": "two digits can share one" if spec.cells == (0, 0) else f"{spec.cells[0]}x{spec.cells[1]}",
    }


def costs(config: TrainConfig) -> dict[str, Cost]:
    """Of a scene, by the model's parts."""
    from mnist_seq import nn
    from mnist_seq.data import sets
    from mnist_seq.nn.cost import per_scene

    return per_scene(nn.build(config.model, sets.spec(config.data)))


if __name__ == "__main__":
    main()
