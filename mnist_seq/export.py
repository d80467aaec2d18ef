"""Export a model: `python -m mnist_seq.export run=outputs/<date>/<time> format=weights name=grid`.

Further formats: `format=onnx` for runtimes without torch, and `format=page` for browsers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnist_seq import cli
from mnist_seq.atomic_io import make_dir
from mnist_seq.config import ExportConfig
from mnist_seq.config.override_syntax import format_command
from mnist_seq.errors import UserError
from mnist_seq.extras import check_extra

if TYPE_CHECKING:
    from torch import Tensor

    from mnist_seq.config import Spec
    from mnist_seq.nn.model import Model

Card = dict[str, Any]
NUM_CHECK_SCENES = 1000
"""Scenes on which the exported model is compared with the trained one."""


def main() -> None:
    cli.run_command("export", _job)


def _job(config: ExportConfig, run_dir: Path) -> None:
    from rich.console import Console

    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference import weights

    console = Console(highlight=False, soft_wrap=True, markup=False)
    if config.format != "weights":
        check_extra(f"format={config.format}", "onnx")
    if config.format == "page":
        path = _export_page(config)
        console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")
        return
    run = resolve_run(config.run)
    model, card = weights.load(run, trust=config.trust)
    if config.seed_runs:
        card["seeds"] = _seed_scores(run, config.seed_runs)
    name = config.name or card.get("name") or card.get("data", {}).get("family", "model")
    config.check_name(str(name))  # that of a card may be anything
    output_dir = Path(config.output_dir or Path("outputs", "exported")) / name
    make_dir("output_dir", output_dir)
    if config.calibrate_on:
        card["platt_scaling"] = _fit_scaling(model, card, config.calibrate_on)
        console.print(_describe_scaling(card["platt_scaling"]))
    check_images = _check_images(card, model.spec)
    path, num_mismatches = EXPORTERS[config.format](run, model, card, name, output_dir, check_images)
    console.print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    if check_images is None:
        console.print(f"not verified against {run}: its scenes are not available")
    else:
        console.print(f"predictions differ from {run} on {num_mismatches:,} of {len(check_images):,} scenes")


def _seed_scores(run: str, seed_runs: list[str]) -> list[Card]:
    """Test scores of runs that differ from `run` in their seed only.

    Raises:
        NotFoundError: no such run.
        UserError: a run of another recipe, or without test metrics.
    """
    from mnist_seq.config.results import METRICS
    from mnist_seq.config.validation import check
    from mnist_seq.run_dir import Run

    recipe, scores = Run.open(run).config_without_seed, []
    for path in seed_runs:
        other = Run.open(path)
        metrics = other.metrics.get("test")
        check(other.config_without_seed == recipe, f"seed_runs: {path} differs from {run} in more than its seed")
        if not metrics:
            command = format_command("evaluate", run=path, split="test")
            raise UserError(f"seed_runs: {path} has no test metrics: {command}")
        scores.append({"seed": other.metrics["seed"]} | {key: metrics[key] for key in ("scenes", *METRICS)})
    return scores


def _fit_scaling(model: Model, card: Card, directory: str) -> Card:
    """Fit Platt scaling of the confidence on a folder of labelled pictures; return what the card says of it.

    Pictures on which the model was trained do not count, nor do those with several rows, since the confidence of each
    row is scaled, nor blank ones.

    Raises:
        NotFoundError: no labels in the folder.
        UserError: no such folder, malformed labels, a picture that cannot be read, or too few wrong readings.
    """
    import torch

    from mnist_seq.config.validation import check
    from mnist_seq.data.labels import read_labels
    from mnist_seq.data.trained_images import select_trained
    from mnist_seq.evaluation.calibration import fit_scaling
    from mnist_seq.inference.reader import Reader

    check(Path(directory).is_dir(), f"calibrate_on={directory} is not a directory: name a folder of labelled pictures")
    labels, normalize = read_labels(Path(directory)), list if model.spec.ordered else sorted
    trained = {label.image for label in select_trained(labels, card.get("trained_images", ""))}
    labels = [label for label in labels if label.image not in trained]
    check(bool(labels), f"calibrate_on={directory}: the model was trained on all of these pictures, name others")
    readings = Reader(model, card | {"platt_scaling": None}).read([label.image for label in labels])
    pairs = [
        (reading.confidence, normalize(reading.digits) == normalize(label.digits))
        for reading, label in zip(readings, labels, strict=True)
        if not reading.rows and not reading.blank
    ]
    confidence, correct = torch.tensor(pairs, dtype=torch.float64).view(-1, 2).unbind(1)
    report = fit_scaling(confidence, correct)
    return report.scaling._asdict() | {
        "pictures": len(pairs),
        "correct": int(correct.sum()),
        "calibration_error": report.after,
        "calibration_error_interval": list(report.interval),
        "unscaled_calibration_error": report.before,
    }


def _describe_scaling(scaling: Card) -> str:
    low, high = scaling["calibration_error_interval"]
    return (
        f"expected calibration error on {scaling['pictures']:,} pictures, {scaling['correct']:,} of them read "
        f"correctly: {scaling['calibration_error']:.3f} ({low:.3f} to {high:.3f}), cross-fitted in five parts; "
        f"{scaling['unscaled_calibration_error']:.3f} without scaling"
    )


def _export_weights(
    run: str, model: Model, card: Card, name: str, output_dir: Path, check_images: Tensor | None
) -> tuple[Path, int]:
    from mnist_seq.evaluation import release_check
    from mnist_seq.inference.export import export_weights
    from mnist_seq.run_dir import Run

    trained, scores = Run(run), release_check.compute_release_scores(model, card)
    num_mismatches = export_weights(
        name, model, card, output_dir, trained if trained.exists else None, scores, check_images
    )
    return output_dir / "weights.safetensors", num_mismatches


def _export_page(config: ExportConfig) -> Path:
    """Write one HTML file that reads with one or several models; return its path."""
    from mnist_seq.atomic_io import atomic_write_text
    from mnist_seq.find_runs import resolve_run
    from mnist_seq.inference import weights
    from mnist_seq.serving.page_builder import PageModel, build_page
    from mnist_seq.serving.page_models import pack_graph, page_card

    runs = [resolve_run(run) for run in (config.run if isinstance(config.run, list) else [config.run])]
    loaded = [weights.load(run, trust=config.trust) for run in runs]
    names = [str(card.get("name") or Path(run).name) for run, (_, card) in zip(runs, loaded, strict=True)]
    labels = [f"{name} ({run})" if names.count(name) > 1 else name for name, run in zip(names, runs, strict=True)]
    models = [
        PageModel(page_card(label, model, card, f"model-{index}"), pack_graph(model, card))
        for index, (label, (model, card)) in enumerate(zip(labels, loaded, strict=True))
    ]
    name = config.name or re.sub(r"[^\w.-]+", "-", names[0]).strip(".-")[:80] or "page"
    folder = Path(config.output_dir or Path("outputs", "exported"))
    make_dir("output_dir", folder)
    path = folder / f"{name}.html"
    atomic_write_text(path, build_page(models))
    return path


def _export_onnx(
    run: str, model: Model, card: Card, name: str, output_dir: Path, check_images: Tensor | None
) -> tuple[Path, int]:
    from mnist_seq.inference import onnx_export
    from mnist_seq.inference.export import count_mismatches, predictor

    path = output_dir / f"{name}.onnx"
    onnx_export.export_onnx(model, path, card)
    if check_images is None:
        return path, 0
    return path, count_mismatches(predictor(model), onnx_export.load_predictor(path), check_images)


EXPORTERS = {"weights": _export_weights, "onnx": _export_onnx}
"""`format=` -> function that writes it and returns the path and the number of mismatches."""


def _check_images(card: Card, spec: Spec) -> Tensor | None:
    """Scenes of the model's own data, B 1 H W: val, or test if it was trained on val; None if not available."""
    from dataclasses import replace

    from mnist_seq.config import FolderConfig
    from mnist_seq.config.serialization import data_from_dict
    from mnist_seq.data import datasets

    if not isinstance(card.get("data"), dict):
        return None
    config = data_from_dict(card["data"])
    if isinstance(config, FolderConfig):
        config = replace(config.for_model(spec), synthetic=None)  # only train is mixed: its digits need not be here
    try:
        splits = datasets.load(config).splits
    except UserError:
        return None
    held_out = splits.get("val", splits.get("test"))
    return None if held_out is None else held_out[:NUM_CHECK_SCENES].images


if __name__ == "__main__":
    main()
