"""The report of a run, made anew: `python -m mnist_seq.report run=outputs/<date>/<time>`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.atomic import require_folder
from mnist_seq.config import EvaluateConfig, ReportConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    command.run("report", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    """Judge on val as training did, and write the page."""
    from mnist_seq.figures import report
    from mnist_seq.learn import machine
    from mnist_seq.learn.evaluation import home
    from mnist_seq.learn.exam import exam
    from mnist_seq.run import Run, named

    config = command.typed(cfg, ReportConfig)
    model = named(config.run)
    run = Run(model)
    machine.keep_memory()
    asked = exam(EvaluateConfig(run=model, device=config.device, trust=config.trust))
    page = Path(config.to or (run.report if run.exists else home(model) / "report.html"))
    require_folder("to", page.parent)
    report.write(asked.subject, asked.judge(), page)
    print(f"to look at: {page}")


if __name__ == "__main__":
    main()
