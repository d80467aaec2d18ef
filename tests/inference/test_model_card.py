"""Readers to give away, and those that ship with the package."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mnist_seq
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import EvaluateConfig, GridConfig, ResultsConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.evaluation import release_check
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import onnx_export, pretrained, weights
from mnist_seq.inference.model_card import ModelExport, count_mismatches, predictor
from mnist_seq.nn import build
from mnist_seq.run_dir import Run
from mnist_seq.training import hardware
from tests.conftest import stirred, tiny_models

MODELS = tiny_models()


@pytest.fixture(scope="module")
def released(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, exported."""
    folder = tmp_path_factory.mktemp("released") / "tiny"
    folder.mkdir()
    model, card = weights.load(tiny_run.path)
    images = mnist_seq.scenes("grid", "data.digits=uci", split="val")[:50].images
    assert (
        ModelExport("tiny", model, card, tiny_run, release_check.release_scores_for_card(model, card)).save(
            folder, images
        )
        == 0
    )
    return folder


def test_what_is_given_away_is_half_as_large_and_reads_the_same(
    released: Path, tiny_run: Run, grids: SyntheticDataset
) -> None:
    assert {weight.dtype for weight in load_file(released / "weights.safetensors").values()} == {torch.float16}
    one, other = mnist_seq.load(tiny_run.path).model, mnist_seq.load(released).model
    assert {weight.dtype for weight in other.parameters()} == {torch.float32}
    assert count_mismatches(predictor(one), predictor(other), grids[:100].images) == 0


def test_readings_that_differ_are_counted(tiny_run: Run, grids: SyntheticDataset) -> None:
    one, other = (weights.load(tiny_run.path)[0] for _ in range(2))
    stirred(other, 1.0)
    images = grids[:300].images
    expected = sum(one.read(image[None]).digits.tolist() != other.read(image[None]).digits.tolist() for image in images)
    assert 0 < expected == count_mismatches(predictor(one), predictor(other), images)


def test_a_card_says_all_that_is_needed_to_trust_a_reader(released: Path, tiny_run: Run) -> None:
    card, metrics = json.loads((released / "model.json").read_text()), tiny_run.metrics
    assert {
        "model",
        "spec",
        "vocabulary",
        "sha256",
        "license",
        "data",
        "digits",
        "revision",
        "parameters",
    } <= card.keys()
    assert card["scores"]["val"]["exact_match"] == metrics["val"]["exact_match"]
    assert card["scores"]["val"]["exact_match_interval"] == metrics["val"]["exact_match_interval"]
    assert card["trained"]["steps"] == metrics["steps"]
    assert card["rounding"] == {"scenes": 50, "differ": 0}
    assert card["val_curve"][-1] == [metrics["scenes"], round(metrics["val"]["exact_match"], 5)]
    assert [scenes for scenes, _ in card["val_curve"]] == sorted({scenes for scenes, _ in card["val_curve"]})
    text = (released / "README.md").read_text()
    low, high = metrics["val"]["exact_match_interval"]
    assert f"{metrics['val']['exact_match']:.2%} ({low:.2%} to {high:.2%})" in text
    assert "Reads 4 digits on 56x56 pixels, in raster order." in text
    assert "license | MIT" in text


def test_another_file_under_the_same_card_is_refused(released: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(released, tmp_path / "copy")
    model, _ = weights.load(released)
    path = copy / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # one bit of one weight
    path.write_bytes(data)
    with pytest.raises(ValueError, match="its SHA-256 is another") as refused:
        mnist_seq.load(copy)
    assert "\n" not in str(refused.value)
    weights.save(model, path)
    mnist_seq.load(copy)


def test_a_card_names_the_reader_that_its_own_began_with(tiny_run: Run, released: Path, tmp_path: Path) -> None:
    assert "began" not in (released / "README.md").read_text()
    run = Run(Path(shutil.copytree(tiny_run.path, tmp_path / "run")))
    run.update_metrics(init_from={"source": "grid"})
    folder = tmp_path / "later"
    folder.mkdir()
    ModelExport("later", *weights.load(run.path), run).save(folder)
    assert json.loads((folder / "model.json").read_text())["trained"]["init_from"] == "grid"
    assert "| began with | the weights of grid, where they fit |" in (folder / "README.md").read_text()


def test_names_stand_for_readers_that_ship(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grids: SyntheticDataset
) -> None:
    """With the prefix whatever lies in the working directory; without, where nothing of that name lies there."""
    shelf = tmp_path / "shelf"
    shutil.copytree(released, shelf / "tiny")
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", shelf)
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert pretrained.list_models() == ["tiny"]
    image = grids[:1].images[0, 0]
    assert mnist_seq.load("pretrained:tiny").read(image) == mnist_seq.load(released).read(image)
    with pytest.raises(FileNotFoundError, match="holds neither"):
        mnist_seq.load("./tiny")
    with pytest.raises(FileNotFoundError, match="tinny does not exist: .* or one of pretrained:tiny"):
        mnist_seq.load("tinny")


@pytest.mark.parametrize("name", pretrained.list_models())
def test_each_reader_that_ships_is_light_and_reads_as_when_it_was_released(name: str) -> None:
    folder = pretrained.PRETRAINED_DIR / name
    assert (folder / "weights.safetensors").stat().st_size <= 6e6
    reader = mnist_seq.load(name)
    assert reader.card["name"] == name
    assert reader.card["digits"] == "mnist"
    assert not str(reader.card["revision"]).endswith("+"), "trained by code that nobody can look up"
    assert reader.card["scores"]["val"]["scenes"] >= 5000
    assert reader.card["rounding"]["scenes"] == 1000
    assert "as at release" in release_check.check_release_scores(reader.model, reader.card)
    assert f'mnist_seq.load("{name}")' in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", pretrained.list_models())
def test_each_reader_that_ships_is_what_the_experiment_of_its_name_trains(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine such as it was trained on."""
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: True)
    card, asked = mnist_seq.load(name).card, mnist_seq.compose(f"experiment={name}", "data.digits=mnist")
    said = to_dict(asked)
    for key in ("model", "data", "loss"):
        assert card[key] == said[key]
    assert card["trained"]["steps"] == asked.trainer.max_steps
    assert card["trained"]["precision"] == hardware.resolve_auto(asked.trainer).precision
    before = asked.init_from and asked.init_from.removeprefix("pretrained:")
    assert card["trained"].get("init_from") == before


@pytest.mark.parametrize("name", pretrained.list_models())
def test_results_ask_of_each_reader_that_ships_what_it_can_read(name: str) -> None:
    config = to_dataclass(compose("results", [])[0], ResultsConfig)
    assert name in config.published
    for asked in ("data=" + name, *config.other_data.get(name, {}).values()):
        keys = [f"run=pretrained:{name}", "scenes=1", "split=val", *asked.split()]
        load_evaluator(to_dataclass(compose("evaluate", keys)[0], EvaluateConfig))


def test_no_reader_that_reads_worse_than_when_it_was_released_is_let_through(tiny_run: Run) -> None:
    model, card = weights.load(tiny_run.path)
    assert "never exported" in release_check.check_release_scores(model, card)
    card["release_scores"] = release_check.release_scores_for_card(model, card)
    assert "as at release" in release_check.check_release_scores(model, card)
    with pytest.raises(ValueError, match="damaged"):
        release_check.check_release_scores(
            model, card | {"release_scores": card["release_scores"] | {"loss": card["release_scores"]["loss"] - 0.06}}
        )
    with pytest.raises(ValueError, match="damaged"):
        release_check.check_release_scores(
            model,
            card
            | {
                "release_scores": card["release_scores"] | {"exact_match": card["release_scores"]["exact_match"] + 0.02}
            },
        )
    assert release_check.compute_release_scores(model, {}) is None


def test_no_reader_of_single_digits_is_let_through_that_has_not_learnt_them() -> None:
    data = mnist_seq.compose("data=single", "data.digits=uci").data
    model = stirred(build(MODELS["enc_dec"], data.spec))
    with pytest.raises(ValueError, match="needs above 90% and below 0.5"):
        release_check.check_release_scores(model, {"data": {"family": "single"}})


@pytest.mark.parametrize("name", ["enc_dec", "rotary", "conv_stem", "classifier", "sequence"])
def test_a_graph_reads_what_the_model_reads(name: str, tmp_path: Path, grids: SyntheticDataset) -> None:
    model = stirred(build(MODELS[name], GridConfig().spec), 0.3)
    path = tmp_path / "reader.onnx"
    onnx_export.export_onnx(model, path, {"note": "x"})
    images = grids[:100].images
    assert count_mismatches(predictor(model), onnx_export.load_predictor(path), images) == 0
    runtime = onnx_export.create_session(path, num_threads=1)
    for batch in (1, 2, 7):
        readout = model.read(images[:batch])
        read, probability, confidence = runtime.run(None, {"images": images[:batch].numpy()})
        assert (read == readout.digits.numpy()).all()
        torch.testing.assert_close(torch.from_numpy(probability), readout.probs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.from_numpy(confidence), readout.confidence, rtol=1e-4, atol=1e-5)
    told = runtime.get_modelmeta().custom_metadata_map
    assert told["images"].startswith("uint8 (batch, 1, 56, 56)")
    assert json.loads(told["card"]) == {"note": "x"}
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    other = stirred(build(MODELS[name], GridConfig().spec), 0.6)
    assert count_mismatches(predictor(other), onnx_export.load_predictor(path), images) > 0
