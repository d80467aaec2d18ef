"""Benchmarks on this machine, against other libraries: `python -m mnist_seq.bench suite=[rendering,train_step]`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from mnist_seq import cli, extras
from mnist_seq.config import BenchConfig

_BASELINE_PACKAGES = ("transformers", "x-transformers", "rapidocr", "onnxruntime", "tesserocr")


def main() -> None:
    cli.run_command("bench", _job)


def _job(config: BenchConfig, run_dir: Path) -> None:
    from rich.console import Console

    from mnist_seq.atomic_io import atomic_write_text, make_dir
    from mnist_seq.benchmarks import ocr, record
    from mnist_seq.benchmarks.environment import environment_info
    from mnist_seq.benchmarks.suites import SUITES
    from mnist_seq.config.serialization import to_dict
    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference.device import resolve_device
    from mnist_seq.reporting import tables

    console = Console()
    print_line = partial(console.print, highlight=False, markup=False, soft_wrap=True)
    config.device = resolve_device(config.device)
    make_dir("output_dir", Path(config.output_dir))  # hydra.run.dir may name another one
    if "serving" in config.suites:
        extras.check_extra("suite=serving", "serve")
    labels = ocr.load_labels(config.images) if config.images else []
    readers = ocr.build_readers(resolve_run(config.run), config.trust, labels) if config.images else []
    recipes = record.load_recipes(config.record, config.challenger) if "record" in config.suites else []
    environment = environment_info(config.device, *_BASELINE_PACKAGES)
    values: dict[str, Any] = {"measurements": {}, "config": to_dict(config), **environment}
    versions = environment["versions"]
    machine = ", ".join(filter(None, (environment["gpu"], environment["processor"])))
    print_line(f"{machine}, {environment['threads']} threads, torch {versions['torch']}")
    for line in _skipped(config):
        print_line(line)
    for name in config.suites:
        if name == "step_profile" and config.device == "mps":
            continue
        if name == "ocr":
            results = ocr.compare_readers(readers, labels)
            values["ocr"] = ocr.to_dict(results, labels)
            title = f"ocr: {len(labels):,} pictures, one at a time, on one thread of the CPU"
            console.print(tables.ocr_table([it[:-1] for it in results], title))
        elif name == "record":
            contenders = record.train_contenders(recipes, Path(config.output_dir) / "runs", print_line)
            values["record"] = record.to_values(contenders)
            print_line(record.to_markdown(contenders))
        else:
            measurements = SUITES[name](config)
            values["measurements"][name] = [it._asdict() for it in measurements]
            console.print(tables.benchmark_table(measurements, f"{name}: {SUITES[name].__doc__}"))
        atomic_write_text(Path(config.output_dir) / "bench.json", json.dumps(values, indent=2) + "\n")
    print_line(f"all results: {config.output_dir}/bench.json")


def _skipped(config: BenchConfig) -> list[str]:
    """What the suites compare with that is not installed, and what cannot be measured on the device."""
    from mnist_seq.benchmarks import baseline_models, ocr_readers

    suites, lines = config.suites, []
    if "step_profile" in suites and config.device == "mps":
        lines.append("device=mps cannot be profiled, skipped: suite=step_profile (device=cpu)")
    missing = baseline_models.missing_baselines() if {"train_step", "inference"} & set(suites) else []
    if missing:
        lines.append(f"not installed, skipped: {', '.join(missing)} (make baselines)")
    if "inference" in suites and extras.missing_package("onnx"):
        lines.append(f"ONNX Runtime not installed, skipped: {extras.install_hint('onnx')}")
    if "ocr" in suites and (missing_ocr := ocr_readers.missing_baselines()):
        names = ", ".join(f"{name} ({command})" for name, command in missing_ocr.items())
        lines.append(f"not installed, skipped: {names}")
    return lines


if __name__ == "__main__":
    main()
