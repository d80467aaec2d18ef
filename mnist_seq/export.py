"""Give a reader away: `python -m mnist_seq.export run=outputs/<date>/<time> format=weights name=grid`, or `format=onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.atomic_io import make_dir
from mnist_seq.compose_config import to_dataclass
from mnist_seq.config import ExportConfig
from mnist_seq.config.override_syntax import format_command
from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from mnist_seq.nn.model import Model

Card = dict[str, Any]
NUM_CHECK_SCENES = 1000
"""On which what is written must read as what was trained does."""


def main() -> None:
    cli.run_command("export", _job)


def _job(cfg: DictConfig, directory: Path) -> None:
    from rich.console import Console

    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference import weights

    console = Console(highlight=False, soft_wrap=True, markup=False)
    config = to_dataclass(cfg, ExportConfig)
    if config.format == "onnx":
        check_extra("format=onnx", "onnx")
    run = resolve_run(config.run)
    model, card = weights.load(run, trust=config.trust)
    if config.seed_runs:
        card["seeds"] = _seed_scores(run, config.seed_runs)
    name = config.name or card.get("name") or card.get("data", {}).get("family", "reader")
    folder = Path(config.output_dir or Path("outputs", "exported")) / name
    make_dir("output_dir", folder)
    images = _check_images(card)
    written, differ = EXPORTERS[config.format](run, model, card, name, folder, images)
    console.print(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
    if images is None:
        console.print(f"not held against {run}: its scenes are not at hand")
    else:
        console.print(f"of {len(images):,} scenes it reads {differ or 'none'} otherwise than {run}")


def _seed_scores(run: str, seed_runs: list[str]) -> list[Card]:
    """What other seeds of a run's recipe read of the test scenes.

    Raises:
        FileNotFoundError, ValueError: no such run, another recipe, or one that was not judged.
    """
    from mnist_seq.config.results import METRICS
    from mnist_seq.config.validation import check
    from mnist_seq.run_dir import Run

    recipe, scores = Run.open(run).config_without_seed, []
    for place in seed_runs:
        other = Run.open(place)
        judged = other.metrics.get("test")
        check(other.config_without_seed == recipe, f"seed_runs: {place} differs from {run} in more than its seed")
        if not judged:
            raise UserError(f"seed_runs: {place} was not judged: {format_command('evaluate', run=place, split='test')}")
        scores.append({"seed": other.metrics["seed"]} | {key: judged[key] for key in ("scenes", *METRICS)})
    return scores


def _export_weights(
    run: str, model: Model, card: Card, name: str, folder: Path, check_images: Tensor | None
) -> tuple[Path, int]:
    from mnist_seq.evaluation import release_check
    from mnist_seq.inference.model_card import ModelExport
    from mnist_seq.run_dir import Run

    trained = Run(run)
    model_card = ModelExport(
        name, model, card, trained if trained.exists else None, release_check.release_scores_for_card(model, card)
    )
    return folder / "weights.safetensors", model_card.save(folder, check_images)


def _export_onnx(
    run: str, model: Model, card: Card, name: str, folder: Path, check_images: Tensor | None
) -> tuple[Path, int]:
    from mnist_seq.inference import model_card, onnx_export

    path = folder / f"{name}.onnx"
    onnx_export.export_onnx(model, path, card)
    return path, 0 if check_images is None else model_card.count_mismatches(
        model_card.predictor(model), onnx_export.load_predictor(path), check_images
    )


EXPORTERS = {"weights": _export_weights, "onnx": _export_onnx}
"""What can be written."""


def _check_images(card: Card) -> Tensor | None:
    """Val scenes of the reader's own, or test scenes where it was trained on val; None where none are at hand."""
    from mnist_seq.config.serialization import data_from_dict
    from mnist_seq.data import datasets

    if not isinstance(card.get("data"), dict):
        return None
    try:
        splits = datasets.load(data_from_dict(card["data"])).splits
    except UserError:
        return None
    return splits["val"][:NUM_CHECK_SCENES].images if "val" in splits else splits["test"][:NUM_CHECK_SCENES].images


if __name__ == "__main__":
    main()
