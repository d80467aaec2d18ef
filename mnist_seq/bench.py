"""Time what matters, beside others and the machine's limits: `python -m mnist_seq.bench suite=[rendering,train_step]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli, extras
from mnist_seq.compose_config import to_dataclass
from mnist_seq.config import BenchConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.benchmarks.timer import Measurement


def main() -> None:
    cli.run_command("bench", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.benchmarks import baseline_models
    from mnist_seq.benchmarks.environment import environment_info
    from mnist_seq.benchmarks.suites import SUITES
    from mnist_seq.inference.device import resolve_device
    from mnist_seq.reporting import tables

    config, console = to_dataclass(cfg, BenchConfig), Console()
    config.device = resolve_device(config.device)
    if "serving" in config.suites:
        extras.check_extra("suite=serving", "serve")
    about = environment_info(config.device, "transformers", "x-transformers")
    console.print(
        f"{about['processor']}, {about['threads']} threads, torch {about['versions']['torch']}", highlight=False
    )
    absent = baseline_models.missing_baselines() if {"train_step", "inference"} & set(config.suites) else []
    if absent:
        console.print(f"not installed, and so not timed: {', '.join(absent)} (make baselines)", highlight=False)
    if "inference" in config.suites and extras.missing_package("onnx"):
        console.print(f"no ONNX Runtime, and so not timed: {extras.install_hint('onnx')}", markup=False)
    measured: dict[str, list[Measurement]] = {}
    for name in config.suites:
        measured[name] = SUITES[name](config)
        console.print(tables.benchmark_table(measured[name], f"{name}: {SUITES[name].__doc__}"))
        _save_results(config, measured, about)
    console.print(f"all figures: {config.output_dir}/bench.json", highlight=False, markup=False, soft_wrap=True)


def _save_results(config: BenchConfig, measurements: dict[str, list[Measurement]], environment: dict[str, Any]) -> None:
    from mnist_seq.atomic_io import atomic_path
    from mnist_seq.config.serialization import to_dict

    figures = {name: [figure._asdict() for figure in figures] for name, figures in measurements.items()}
    with atomic_path(Path(config.output_dir) / "bench.json") as beside:
        beside.write_text(
            json.dumps({"figures": figures, "config": to_dict(config), **environment}, indent=2) + "\n",
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
