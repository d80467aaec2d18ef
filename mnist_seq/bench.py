"""Benchmarks on this machine, beside other libraries: `python -m mnist_seq.bench suite=[rendering,train_step]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli, extras
from mnist_seq.config import BenchConfig

if TYPE_CHECKING:
    from mnist_seq.benchmarks.timer import Measurement


def main() -> None:
    cli.run_command("bench", _job)


def _job(config: BenchConfig, run_dir: Path) -> None:
    from rich.console import Console

    from mnist_seq.benchmarks import baseline_models
    from mnist_seq.benchmarks.environment import environment_info
    from mnist_seq.benchmarks.suites import SUITES
    from mnist_seq.inference.device import resolve_device
    from mnist_seq.reporting import tables

    console = Console()
    config.device = resolve_device(config.device)
    if "serving" in config.suites:
        extras.check_extra("suite=serving", "serve")
    environment = environment_info(config.device, "transformers", "x-transformers")
    versions = environment["versions"]
    console.print(
        f"{environment['processor']}, {environment['threads']} threads, torch {versions['torch']}", highlight=False
    )
    missing = baseline_models.missing_baselines() if {"train_step", "inference"} & set(config.suites) else []
    if missing:
        console.print(f"not installed, skipped: {', '.join(missing)} (make baselines)", highlight=False)
    if "inference" in config.suites and extras.missing_package("onnx"):
        console.print(f"ONNX Runtime not installed, skipped: {extras.install_hint('onnx')}", markup=False)
    results: dict[str, list[Measurement]] = {}
    for name in config.suites:
        results[name] = SUITES[name](config)
        console.print(tables.benchmark_table(results[name], f"{name}: {SUITES[name].__doc__}"))
        _save_results(config, results, environment)
    console.print(f"all results: {config.output_dir}/bench.json", highlight=False, markup=False, soft_wrap=True)


def _save_results(config: BenchConfig, results: dict[str, list[Measurement]], environment: dict[str, Any]) -> None:
    from mnist_seq.atomic_io import atomic_write_text
    from mnist_seq.config.serialization import to_dict

    measurements = {name: [it._asdict() for it in suite_results] for name, suite_results in results.items()}
    values = {"measurements": measurements, "config": to_dict(config), **environment}
    atomic_write_text(Path(config.output_dir) / "bench.json", json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
