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
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from mnist_seq.figures import report, tables
    from mnist_seq.figures.report import Subject
    from mnist_seq.learn.exam import exam
    from mnist_seq.run import Run, latest

    console = Console(highlight=False, soft_wrap=True)
    config = command.typed(cfg, EvaluateConfig)
    config.run = config.run or str(latest())
    preset = HydraConfig.get().runtime.choices.get("data")
    asked = exam(config)
    judgement = asked.judge()
    if asked.sets.notice:
        console.print(f"[bold red]{asked.sets.notice}")
    console.print(tables.results({config.split: judgement.summary()}, f"{config.run}, digits: {asked.sets.source}"))
    run = Run(config.run)
    if asked.usual and run.exists:
        run.record(**{config.split: judgement.summary()})
        console.print(f"added to {run.path / 'metrics.json'}")
    folder = destination(config, preset)
    report.write_judgement(judgement, folder)
    console.print(f"all figures and every scene: {folder / 'judgement.json'}, {folder / 'scenes.csv'}")
    if config.report:
        subject = Subject(str(config.run), asked.model, asked.card, asked.sets, run if run.exists else None)
        report.write(subject, judgement, folder / "report.html")
        console.print(f"to look at: {folder / 'report.html'}")


def destination(config: EvaluateConfig, preset: str | None = None) -> Path:
    """The folder of an evaluation: `to`, or one in the run's directory, or, of weights alone, one under outputs/.

    Args:
        preset: the name of the data, where they are not the run's own.
    """
    run = Path(str(config.run))
    told = {
        preset or "": config.data is not None,
        f"beams-{config.beams}": config.beams > 1,
        "unconstrained": not config.constrain,
        f"{config.scenes}-scenes": config.scenes is not None,
    }
    name = "_".join([config.split, *(it for it, differs in told.items() if differs)])
    if config.to:
        return Path(config.to)
    return run / "judged" / name if run.is_dir() else Path("outputs", "judged", f"{run.stem}_{name}")


if __name__ == "__main__":
    main()
