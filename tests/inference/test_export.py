"""Exported models: half the size, same predictions, and a card that says where they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

import mnist_seq
from mnist_seq.config import Spec
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.inference import weights
from mnist_seq.inference.export import count_mismatches, export_weights, predictor
from mnist_seq.inference.model_card import describe_task
from mnist_seq.run_dir import Run
from tests.conftest import stirred


def test_exported_weights_are_float16_and_predict_the_same(
    exported: Path, tiny_run: Run, grids: SyntheticDataset
) -> None:
    assert {weight.dtype for weight in load_file(exported / "weights.safetensors").values()} == {torch.float16}
    trained, reloaded = mnist_seq.load(tiny_run.path).model, mnist_seq.load(exported).model
    assert {weight.dtype for weight in reloaded.parameters()} == {torch.float32}
    assert count_mismatches(predictor(trained), predictor(reloaded), grids[:100].images) == 0


def test_mismatches_are_counted_per_image(tiny_run: Run, grids: SyntheticDataset) -> None:
    one, other = (weights.load(tiny_run.path)[0] for _ in range(2))
    stirred(other, 1.0)
    images = grids[:300].images
    expected = sum(one.read(image[None]).digits.tolist() != other.read(image[None]).digits.tolist() for image in images)
    assert 0 < expected == count_mismatches(predictor(one), predictor(other), images)


def test_exported_card_states_training_scores_and_rounding(exported: Path, tiny_run: Run) -> None:
    card, metrics = json.loads((exported / "model.json").read_text()), tiny_run.metrics
    keys = {"model", "spec", "vocabulary", "sha256", "license", "data", "digits", "revision", "parameters"}
    assert keys <= card.keys()
    assert card["scores"]["val"]["exact_match"] == metrics["val"]["exact_match"]
    assert card["scores"]["val"]["exact_match_interval"] == metrics["val"]["exact_match_interval"]
    assert card["trained"]["steps"] == metrics["steps"]
    assert card["rounding"] == {"scenes": 50, "differ": 0}
    assert card["val_curve"][-1] == [metrics["scenes"], round(metrics["val"]["exact_match"], 5)]
    assert [scenes for scenes, _ in card["val_curve"]] == sorted({scenes for scenes, _ in card["val_curve"]})


def test_export_of_an_export_keeps_training_scores_and_rounding(exported: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    export_weights("again", *weights.load(exported), again)
    first, second = (json.loads((folder / "model.json").read_text()) for folder in (exported, again))
    for key in ("trained", "scores", "val_curve", "rounding", "digits", "sha256"):
        assert second[key] == first[key]


def test_weights_file_of_a_run_is_exported_as_far_as_it_says(tiny_run: Run, tmp_path: Path) -> None:
    export_weights("alone", *weights.load(tiny_run.weights), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| architecture | enc_dec" in text
    assert "| training |" not in text


def test_task_of_a_model_of_pictures_is_that_of_the_synthetic_half() -> None:
    spec, folder = Spec(32, 256, 12, (0, 0)), {"family": "folder"}
    assert describe_task(spec, folder) == "up to 12 digits on 32x256 pixels, in the order of its labels"
    both = folder | {"synthetic": {"family": "line"}}
    assert describe_task(spec, both) == "up to 12 digits on 32x256 pixels, from left to right"


def test_readme_states_task_scores_and_license(exported: Path, tiny_run: Run) -> None:
    metrics, text = tiny_run.metrics, (exported / "README.md").read_text()
    low, high = metrics["val"]["exact_match_interval"]
    assert f"{metrics['val']['exact_match']:.2%} ({low:.2%} to {high:.2%})" in text
    assert "Reads 4 digits on 56x56 pixels, in raster order." in text
    assert 'mnist_seq.load("./tiny")' in text
    assert "license | MIT" in text


def test_readme_names_the_model_that_training_was_initialized_from(
    tiny_run: Run, exported: Path, tmp_path: Path
) -> None:
    assert "initialized" not in (exported / "README.md").read_text()
    run = Run(Path(shutil.copytree(tiny_run.path, tmp_path / "run")))
    run.update_metrics(init_from={"source": "grid"})
    folder = tmp_path / "later"
    folder.mkdir()
    export_weights("later", *weights.load(run.path), folder, run)
    assert json.loads((folder / "model.json").read_text())["trained"]["init_from"] == "grid"
    assert "| initialized from | grid, where names and shapes match |" in (folder / "README.md").read_text()


def test_readme_says_if_val_digits_were_trained_on(tiny_run: Run, exported: Path, tmp_path: Path) -> None:
    assert "val digits" not in (exported / "README.md").read_text()
    model, card = weights.load(tiny_run.path)
    for pool, subject in (("full", "The model"), ("split", "The model that this one was initialized from")):
        full = card | {"trained_on_val": ["mnist"], "data": card["data"] | {"pool": pool}}
        export_weights("full", model, full, tmp_path)
        sentence = f"{subject} was also trained on the val digits of mnist, so there is no score on them."
        assert sentence in (tmp_path / "README.md").read_text().splitlines()
