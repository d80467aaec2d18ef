"""Time what matters, beside others and the machine's limits: `python -m mnist_seq.bench suite=[scenes,train]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command, extras
from mnist_seq.config import BenchConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.timing.clock import Figure


def main() -> None:
    command.run("bench", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.figures import tables
    from mnist_seq.learn import machine
    from mnist_seq.timing import peers
    from mnist_seq.timing.suites import SUITES

    config, console = command.typed(cfg, BenchConfig), Console()
    config.device = machine.device(config.device)
    if "service" in config.suites:
        extras.require_extra("suite=service", "serve")
    machine.keep_memory()
    about = machine.about(config.device, "transformers", "x-transformers")
    console.print(
        f"{about['processor']}, {about['threads']} threads, torch {about['versions']['torch']}", highlight=False
    )
    absent = peers.absent() if {"train", "read"} & set(config.suites) else []
    if absent:
        console.print(f"not installed, and so not timed: {', '.join(absent)} (make peers)", highlight=False)
    if "read" in config.suites and extras.missing("onnx"):
        console.print(f"no ONNX Runtime, and so not timed: {extras.how_to_install('onnx')}", markup=False)
    measured: dict[str, list[Figure]] = {}
    for name in config.suites:
        measured[name] = SUITES[name](config)
        console.print(tables.timings(measured[name], f"{name}: {SUITES[name].__doc__}"))
        _keep(config, measured, about)
    console.print(f"all figures: {config.to}/bench.json", highlight=False, markup=False, soft_wrap=True)


def _keep(config: BenchConfig, measured: dict[str, list[Figure]], about: dict[str, Any]) -> None:
    from mnist_seq.atomic import whole
    from mnist_seq.plain import plain

    figures = {name: [figure._asdict() for figure in figures] for name, figures in measured.items()}
    with whole(Path(config.to) / "bench.json") as beside:
        beside.write_text(
            json.dumps({"figures": figures, "config": plain(config), **about}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
