"""Time what matters: `python -m mnist_seq.bench suite=[scenes,train] to=bench.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.config import BenchConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    command.run("bench", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.timing.suites import SUITES, Figures

    config = command.typed(cfg, BenchConfig)
    measured: Figures = {}
    for name in SUITES if config.suite == "all" else config.suite.split(","):
        measured |= SUITES[name](config.repeats)
    _show(measured, config.repeats, Console())
    if config.to:
        Path(config.to).write_text(json.dumps({"figures": measured, **_machine()}, indent=2) + "\n")


def _show(measured: dict[str, tuple[float, float, float]], repeats: int, console: Any) -> None:
    from rich.table import Table

    table = Table(title=f"medians of {repeats}", title_justify="left")
    for column in ("", "least", "median", "most"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in measured.items():
        table.add_row(name, *(f"{figure:,.2f}" if figure < 100 else f"{figure:,.0f}" for figure in figures))
    console.print(table)


def _machine() -> dict[str, Any]:
    import platform

    import torch

    from mnist_seq.run import revision, versions

    return {
        "machine": platform.machine(),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "revision": revision(),
    }


if __name__ == "__main__":
    main()
