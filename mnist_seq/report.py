"""The report of a run, made anew: `python -m mnist_seq.report run=outputs/<date>/<time>`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.config import EvaluateConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def main() -> None:
    command.run("report", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    """Judge as `evaluate` does, and write the page alone."""
    from mnist_seq.figures import report
    from mnist_seq.figures.report import Subject
    from mnist_seq.learn.exam import exam
    from mnist_seq.run import Run, latest

    config = command.typed(cfg, EvaluateConfig)
    config.run = config.run or str(latest())
    run, asked = Run(config.run), exam(config)
    page = Path(config.to or (run.report if run.exists else f"outputs/{run.path.stem}.html"))
    page.parent.mkdir(parents=True, exist_ok=True)
    subject = Subject(str(config.run), asked.model, asked.card, asked.sets, run if run.exists else None)
    report.write(subject, asked.judge(), page)
    print(f"to look at: {page}")


if __name__ == "__main__":
    main()
