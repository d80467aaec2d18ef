"""Judge a run: `python -m mnist_seq.evaluate run=outputs/<date>/<time> split=test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.config import DataConfig, EvaluateConfig
from mnist_seq.plain import restore_data

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mnist_seq.learn.judge import Judgement


def main() -> None:
    command.run("evaluate", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.figures import tables
    from mnist_seq.run import latest

    console = Console()
    config = command.typed(cfg, EvaluateConfig)
    config.run = config.run or str(latest())
    judgement, source, notice = evaluate(config)
    if notice:
        console.print(f"[bold red]{notice}", soft_wrap=True)
    console.print(tables.results({judgement.split: judgement.as_dict()}, f"{config.run}, digits: {source}"))
    if recorded := record(config, judgement):
        console.print(f"added to {recorded}", highlight=False, soft_wrap=True)


def evaluate(config: EvaluateConfig) -> tuple[Judgement, str, str]:
    """Read scenes of a split with the weights that count.

    Returns:
        The judgement, the source of the digits, and what has to be said about it.

    Raises:
        FileNotFoundError, ValueError: nothing to load, or scenes that the model cannot read.
    """
    from mnist_seq.data import digits
    from mnist_seq.data.scenes import TEST_SCENES, SceneSet, spec
    from mnist_seq.learn.judge import judge
    from mnist_seq.use import weights

    model, card = weights.load(str(config.run), _device(config.device))
    data: DataConfig = config.data or restore_data(card["data"])
    if config.split == "val" and card["data"]["pool"] == "full":
        raise ValueError(f"{config.run} was trained on the val digits too (data.pool=full): choose split=test")
    shown = spec(data)
    if (shown.height, shown.width, shown.cells) != (model.spec.height, model.spec.width, model.spec.cells):
        raise ValueError(
            f"data={data.family} shows {shown.height}x{shown.width} scenes, but {config.run} "
            f"reads {model.spec.height}x{model.spec.width}: choose a data preset of that size"
        )
    source = digits.load(data.digits)
    scenes = SceneSet(data, source.pools[config.split], data.scene_seed)
    number = config.scenes or (TEST_SCENES if config.split == "test" else len(scenes))
    return judge(model, scenes, number, config.batch_size), source.source, source.notice


def record(config: EvaluateConfig, judgement: Judgement) -> Path | None:
    """Add the figures to the run's metrics.json, where it is a run that was judged on its own data."""
    from mnist_seq.run import Run

    run = Run(str(config.run))
    if config.data is not None or not run.exists:
        return None
    run.record(**{judgement.split: judgement.as_dict()})
    return run.path / "metrics.json"


def _device(name: str) -> str:
    import torch

    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ValueError(f"device={name} is not to be had on this machine: choose device=cpu, or device=auto")
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


if __name__ == "__main__":
    main()
