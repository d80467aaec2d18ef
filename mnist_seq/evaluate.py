"""Judge a run: `python -m mnist_seq.evaluate run=outputs/<date>/<time> split=test`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import command
from mnist_seq.config import DataConfig, EvaluateConfig, LossConfig
from mnist_seq.plain import restore, restore_data

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from mnist_seq.learn.judge import Judgement
    from mnist_seq.nn.decoding import Readout
    from mnist_seq.nn.model import Model


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
    from mnist_seq.data import sets
    from mnist_seq.learn.judge import judge
    from mnist_seq.learn.machine import device
    from mnist_seq.use import weights

    if config.trust:
        weights.trust(config.trust)
    model, card = weights.load(str(config.run), device(config.device))
    if not config.data and "data" not in card:
        raise ValueError(f"{config.run} does not say what it was trained on: give data=")
    data: DataConfig = config.data or restore_data(card["data"])
    if config.split == "val" and card.get("data", {}).get("pool") == "full":
        raise ValueError(f"{config.run} was trained on the val digits too (data.pool=full): choose split=test")
    _refuse_another_problem(str(config.run), model, data)
    loaded = sets.load(data)
    if config.split not in loaded.splits:
        raise ValueError(f"split={config.split} is not in {data.family}: choose from {', '.join(loaded.splits)}")
    scenes = loaded.splits[config.split]
    number = config.scenes or len(scenes)
    if data.family == "folder" and number > len(scenes):
        raise ValueError(f"scenes={number} of a folder with {len(scenes)}: choose at most those, or null")
    loss = restore(LossConfig, card["loss"]) if "loss" in card else None
    return judge(model, scenes, number, config.batch_size, loss, _way(config, model)), loaded.source, loaded.notice


def _way(config: EvaluateConfig, model: Model) -> Callable[[Tensor], Readout] | None:
    """How to read, where it is not the model's own way."""
    from mnist_seq.nn import decoding

    if config.beams == 1 and config.constrain:
        return None
    if not isinstance(model, decoding.Writer):
        raise ValueError(
            f"beams={config.beams} constrain={config.constrain}: {config.run} writes no tokens, leave both"
        )
    writer: decoding.Writer = model
    if config.beams == 1:
        return lambda images: decoding.greedy(writer, images, config.constrain)
    return lambda images: decoding.beam(writer, images, config.beams, constrain=config.constrain).best


def _refuse_another_problem(run: str, model: Model, data: DataConfig) -> None:
    """Raises ValueError for scenes of a size, or with sequences of a length, that the model was not built for."""
    from mnist_seq.data import sets

    shown, known = sets.spec(data), model.spec
    if (shown.height, shown.width) != (known.height, known.width):
        raise ValueError(
            f"data={data.family} shows {shown.height}x{shown.width} scenes, but {run} "
            f"reads {known.height}x{known.width}: choose a data preset of that size"
        )
    if shown.max_digits > known.max_digits:
        raise ValueError(
            f"data={data.family} shows up to {shown.max_digits} digits, but {run} writes at most {known.max_digits}: "
            "train with data.longest or data.max_digits as high"
        )
    if model.reads == "cells" and shown.cells != known.cells:
        raise ValueError(f"data={data.family} has cells of {shown.cells}, but {run} reads cells of {known.cells}")


def record(config: EvaluateConfig, judgement: Judgement) -> Path | None:
    """Add the figures to the metrics.json of a run that was judged as runs are: on its own data, whole, its own way."""
    from mnist_seq.run import Run

    run = Run(str(config.run))
    other_way = config.beams > 1 or not config.constrain or config.scenes is not None
    if config.data is not None or other_way or not run.exists:
        return None
    run.record(**{judgement.split: judgement.as_dict()})
    return run.path / "metrics.json"


if __name__ == "__main__":
    main()
