"""Judge a run: `python -m mnist_seq.evaluate run=outputs/<date>/<time> split=test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.config import EvaluateConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    command.run("evaluate", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.learn import machine
    from mnist_seq.learn.evaluation import evaluate
    from mnist_seq.run import named

    config = command.typed(cfg, EvaluateConfig)
    config.run = named(config.run)
    machine.keep_memory()
    evaluate(config, Console(highlight=False, soft_wrap=True), _asked_data())


def _asked_data() -> str:
    """The data preset that was asked for, and a hash of what was changed of it."""
    from hydra.core.hydra_config import HydraConfig

    config = HydraConfig.get()
    changes = [it for it in config.overrides.task if it.lstrip("+~").startswith(("data.", "data/"))]
    return f"{config.runtime.choices.get('data')}" + (f"-{command.digest(changes)}" if changes else "")


if __name__ == "__main__":
    main()
