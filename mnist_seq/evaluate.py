"""Evaluate a model: `python -m mnist_seq.evaluate run=outputs/<date>/<time> split=test`."""

from __future__ import annotations

from pathlib import Path

from mnist_seq import cli
from mnist_seq.compose_config import overrides_hash
from mnist_seq.config import EvaluateConfig


def main() -> None:
    cli.run_command("evaluate", _job)


def _job(config: EvaluateConfig, run_dir: Path) -> None:
    from rich.console import Console

    from mnist_seq.find_runs import resolve_run
    from mnist_seq.reporting.evaluation_report import evaluate_and_report

    config.run = resolve_run(config.run)
    evaluate_and_report(config, Console(highlight=False, soft_wrap=True), _data_label())


def _data_label() -> str:
    """The name of the data preset, with a hash of the overrides of the data, if there are any."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    overrides = [it for it in hydra.overrides.task if it.lstrip("+~").startswith(("data.", "data/"))]
    return f"{hydra.runtime.choices.get('data')}" + (f"-{overrides_hash(overrides)}" if overrides else "")


if __name__ == "__main__":
    main()
