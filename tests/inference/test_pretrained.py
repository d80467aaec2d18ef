"""`pretrained:NAME` names an included model, a bare name is a path; the included models are what their cards say."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import pytest

import mnist_seq
from mnist_seq import compare
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import CompareConfig, EvaluateConfig, ResultsConfig, TrainConfig
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.config.serialization import from_dict
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.evaluation import release_check
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import pretrained, reader, weights
from mnist_seq.reporting.evaluation_report import evaluation_dir
from mnist_seq.run_dir import Run
from mnist_seq.training import hardware


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_run: Run) -> Path:
    """A working directory that contains a run with the name of an included model."""
    shutil.copytree(tiny_run.path, tmp_path / "grid")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def num_parameters(model: object) -> int:
    return sum(weight.numel() for weight in model.parameters())  # type: ignore[attr-defined]


def test_bare_name_is_a_path_and_prefixed_name_the_included_model(shadowed: Path, tiny_run: Run) -> None:
    own = num_parameters(weights.load(tiny_run.path)[0])
    included = num_parameters(weights.load(pretrained.PRETRAINED_DIR / "grid")[0])
    assert own != included
    for run, expected in {"grid": own, "./grid": own, "pretrained:grid": included}.items():
        assert num_parameters(weights.load(run)[0]) == expected
        assert num_parameters(reader.load(run).model) == expected
        config = EvaluateConfig(run=run, scenes=4, data=mnist_seq.compose("data=grid", "data.digits=uci").data)
        assert num_parameters(load_evaluator(config).model) == expected
    assert compare.expand_runs("grid") == ["grid"]
    assert compare.expand_runs("pretrained:grid") == ["pretrained:grid"]


def test_bare_name_without_a_path_is_rejected_with_the_prefixed_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="grid does not exist: .* pretrained:grid for the included model"):
        weights.load("grid")
    with pytest.raises(NotFoundError, match="gone does not exist: .* pretrained:grid"):
        weights.load("gone")
    with pytest.raises(UserError, match="pretrained=gone is unknown: choose from .*grid"):
        weights.load("pretrained:gone")


def test_short_form_of_load_is_rejected_if_a_path_has_the_same_name(
    shadowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"use pretrained:grid or \./grid"):
        mnist_seq.load("grid")
    monkeypatch.chdir("/")
    assert mnist_seq.load("grid").card["name"] == "grid"


def test_names_of_included_models_are_the_folders_of_the_package(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grids: SyntheticDataset
) -> None:
    included = tmp_path / "included"
    shutil.copytree(exported, included / "tiny")
    monkeypatch.setattr(pretrained, "PRETRAINED_DIR", included)
    (tmp_path / "here" / "tiny").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert pretrained.list_models() == ["tiny"]
    image = grids[:1].images[0, 0]
    assert mnist_seq.load("pretrained:tiny").read(image) == mnist_seq.load(exported).read(image)
    with pytest.raises(FileNotFoundError, match="holds neither"):
        mnist_seq.load("./tiny")
    with pytest.raises(FileNotFoundError, match="tinny does not exist: .* or one of pretrained:tiny"):
        mnist_seq.load("tinny")


def test_evaluations_of_included_models_are_written_outside_the_package() -> None:
    folder = evaluation_dir(EvaluateConfig(run="pretrained:grid", split="test"))
    assert folder.parts[0] == "outputs"
    assert folder.parts[-3:] == ("pretrained", "grid", "test")


def test_command_line_takes_prefixed_names_unquoted_also_in_lists() -> None:
    composed = compose("compare", ["runs=[pretrained:grid,outputs/x]"])[0]
    assert to_dataclass(composed, CompareConfig).runs == ["pretrained:grid", "outputs/x"]
    for command in ("evaluate", "report", "export", "serve"):
        assert compose(command, ["run=pretrained:grid"])[0].run == "pretrained:grid"
    train = to_dataclass(compose("train", ["init_from=pretrained:grid"])[0], TrainConfig)
    assert train.init_from == "pretrained:grid"


@pytest.mark.parametrize("path", sorted((CONFIG_DIR / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_start_from_an_included_model_or_the_run_of_another_preset(path: Path) -> None:
    start = str(compose("train", [f"experiment={path.stem}"])[0].init_from)
    presets = {f"outputs/{it.stem}" for it in path.parent.glob("*.yaml")}
    included = {f"pretrained:{name}" for name in pretrained.list_models()}
    assert start == "None" or start in included or any(start.endswith(preset) for preset in presets - {path.stem})
    assert compose("serve", [])[0].run == pretrained.DEFAULT_MODEL in included
    assert inspect.signature(mnist_seq.load).parameters["path"].default == pretrained.DEFAULT_MODEL


@pytest.mark.parametrize("name", pretrained.list_models())
def test_included_model_is_small_and_scores_as_at_its_export(name: str) -> None:
    folder = pretrained.PRETRAINED_DIR / name
    assert (folder / "weights.safetensors").stat().st_size <= 6e6
    loaded = mnist_seq.load(name)
    assert loaded.card["name"] == name
    assert loaded.card["digits"] == "mnist"
    assert not str(loaded.card["revision"]).endswith("+"), "trained with uncommitted changes"
    split = "test" if loaded.card.get("trained_on_val") else "val"
    assert loaded.card["scores"][split]["scenes"] >= 5000
    assert loaded.card["rounding"]["scenes"] == 1000
    assert "release" in release_check.check_release_scores(loaded.model, loaded.card)
    assert f'mnist_seq.load("pretrained:{name}")' in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", pretrained.list_models())
def test_included_model_is_what_the_experiment_of_its_name_trains(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine like the one that trained it."""
    monkeypatch.setattr(hardware, "supports_fast_bf16", lambda: True)
    card, config = mnist_seq.load(name).card, mnist_seq.compose(f"experiment={name}", "data.digits=mnist")
    for expected, saved in ((config.model, card["model"]), (config.data, card["data"]), (config.loss, card["loss"])):
        assert from_dict(type(expected), saved) == expected
    assert card["trained"]["steps"] == config.trainer.max_steps
    assert card["trained"]["precision"] == hardware.resolve_auto(config.trainer).precision
    saved, expected = (
        it and it.removeprefix("pretrained:") for it in (card["trained"].get("init_from"), config.init_from)
    )
    assert saved == expected


@pytest.mark.parametrize("name", pretrained.list_models())
def test_results_evaluates_included_models_on_scenes_that_they_can_read(name: str) -> None:
    config = to_dataclass(compose("results", [])[0], ResultsConfig)
    assert name in config.published
    split = "test" if mnist_seq.load(name).card.get("trained_on_val") else "val"
    for data in ("data=" + name, *config.other_data.get(name, {}).values()):
        overrides = [f"run=pretrained:{name}", "scenes=1", f"split={split}", *data.split()]
        load_evaluator(to_dataclass(compose("evaluate", overrides)[0], EvaluateConfig))
