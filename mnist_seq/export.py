"""Give a reader away: `python -m mnist_seq.export run=outputs/<date>/<time> to=weights name=grid`, or `to=onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import command
from mnist_seq.atomic import require_folder
from mnist_seq.command_line import command_line
from mnist_seq.config import ExportConfig
from mnist_seq.errors import UserError
from mnist_seq.extras import require_extra

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from mnist_seq.nn.model import Model

Card = dict[str, Any]
SCENES = 1000
"""On which what is written must read as what was trained does."""


def main() -> None:
    command.run("export", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.run import named
    from mnist_seq.use import weights

    console = Console(highlight=False, soft_wrap=True, markup=False)
    config = command.typed(cfg, ExportConfig)
    if config.to == "onnx":
        require_extra("to=onnx", "onnx")
    run = named(config.run)
    model, card = weights.load(run, trust=config.trust)
    if config.seeds:
        card["seeds"] = _seeds(run, config.seeds)
    name = config.name or card.get("name") or card.get("data", {}).get("family", "reader")
    folder = Path(config.folder or Path("outputs", "exported")) / name
    require_folder("folder", folder)
    images = _scenes(card)
    written, differ = WRITERS[config.to](run, model, card, name, folder, images)
    console.print(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
    if images is None:
        console.print(f"not held against {run}: its scenes are not at hand")
    else:
        console.print(f"of {len(images):,} scenes it reads {differ or 'none'} otherwise than {run}")


def _seeds(run: str, others: list[str]) -> list[Card]:
    """What other seeds of a run's recipe read of the test scenes.

    Raises:
        FileNotFoundError, ValueError: no such run, another recipe, or one that was not judged.
    """
    from mnist_seq.config.law import require
    from mnist_seq.config.results import MEASURES
    from mnist_seq.run import Run

    recipe, scores = Run.open(run).recipe, []
    for place in others:
        other = Run.open(place)
        judged = other.metrics.get("test")
        require(other.recipe == recipe, f"seeds: {place} differs from {run} in more than its seed")
        if not judged:
            raise UserError(f"seeds: {place} was not judged: {command_line('evaluate', run=place, split='test')}")
        scores.append({"seed": other.metrics["seed"]} | {key: judged[key] for key in ("scenes", *MEASURES)})
    return scores


def _weights(run: str, model: Model, card: Card, name: str, folder: Path, images: Tensor | None) -> tuple[Path, int]:
    from mnist_seq.learn import gate
    from mnist_seq.run import Run
    from mnist_seq.use.release import Release

    trained = Run(run)
    release = Release(name, model, card, trained if trained.exists else None, gate.record(model, card))
    return folder / "weights.safetensors", release.write(folder, images)


def _onnx(run: str, model: Model, card: Card, name: str, folder: Path, images: Tensor | None) -> tuple[Path, int]:
    from mnist_seq.use import onnx, release

    path = folder / f"{name}.onnx"
    onnx.write(model, path, card)
    return path, 0 if images is None else release.differing(release.digits(model), onnx.digits(path), images)


WRITERS = {"weights": _weights, "onnx": _onnx}
"""What can be written."""


def _scenes(card: Card) -> Tensor | None:
    """Val scenes of the reader's own, or test scenes where it was trained on val; None where none are at hand."""
    from mnist_seq.data import sets
    from mnist_seq.plain import restore_data

    if not isinstance(card.get("data"), dict):
        return None
    try:
        splits = sets.load(restore_data(card["data"])).splits
    except UserError:
        return None
    return splits["val"][:SCENES].images if "val" in splits else splits["test"][:SCENES].images


if __name__ == "__main__":
    main()
