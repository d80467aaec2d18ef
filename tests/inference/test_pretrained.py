"""`pretrained:NAME` names an included model; a bare name is a path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mnist_seq
from mnist_seq import compare
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import CompareConfig, EvaluateConfig, TrainConfig
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.evaluation.evaluator import load_evaluator
from mnist_seq.inference import pretrained, reader, weights
from mnist_seq.reporting.evaluation_report import evaluation_dir
from mnist_seq.run_dir import Run


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_run: Run) -> Path:
    """A working directory in which a run of the user's is called like an included model."""
    shutil.copytree(tiny_run.path, tmp_path / "grid")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parameters(model: object) -> int:
    return sum(weight.numel() for weight in model.parameters())  # type: ignore[attr-defined]


def test_a_bare_name_means_the_users_run_and_pretrained_the_included_model(shadowed: Path, tiny_run: Run) -> None:
    own, included = (
        parameters(weights.load(tiny_run.path)[0]),
        parameters(weights.load(pretrained.PRETRAINED_DIR / "grid")[0]),
    )
    assert own != included
    for place, expected in {"grid": own, "./grid": own, "pretrained:grid": included}.items():
        assert parameters(weights.load(place)[0]) == expected
        assert parameters(reader.load(place).model) == expected
        asked = EvaluateConfig(run=place, scenes=4, data=mnist_seq.compose("data=grid", "data.digits=uci").data)
        assert parameters(load_evaluator(asked).model) == expected
    assert compare.expand_runs("grid") == ["grid"]
    assert compare.expand_runs("pretrained:grid") == ["pretrained:grid"]


def test_a_bare_name_without_a_path_is_refused_with_the_name_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match="grid does not exist: .* pretrained:grid for the included model"):
        weights.load("grid")
    with pytest.raises(NotFoundError, match="gone does not exist: .* pretrained:grid"):
        weights.load("gone")
    with pytest.raises(UserError, match="pretrained=gone is unknown: choose from .*grid"):
        weights.load("pretrained:gone")


def test_the_short_form_of_load_is_refused_where_a_path_has_that_name_too(
    shadowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"say pretrained:grid, or \./grid"):
        mnist_seq.load("grid")
    monkeypatch.chdir("/")
    assert mnist_seq.load("grid").card["name"] == "grid"


def test_what_is_found_of_an_included_model_lies_outside_of_the_package_and_of_runs() -> None:
    folder = evaluation_dir(EvaluateConfig(run="pretrained:grid", split="test"))
    assert folder == Path("outputs/evaluations/pretrained/grid/test")


def test_a_command_line_takes_the_name_unquoted_also_in_lists() -> None:
    composed = compose("compare", ["runs=[pretrained:grid,outputs/x]"])[0]
    assert to_dataclass(composed, CompareConfig).runs == ["pretrained:grid", "outputs/x"]
    for config in ("evaluate", "report", "export", "serve"):
        assert compose(config, ["run=pretrained:grid"])[0].run == "pretrained:grid"
    train = to_dataclass(compose("train", ["init_from=pretrained:grid"])[0], TrainConfig)
    assert train.init_from == "pretrained:grid"


@pytest.mark.parametrize("path", sorted((CONFIG_DIR / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_name_included_models_in_full(path: Path) -> None:
    config = compose("train", [f"experiment={path.stem}"])[0]
    assert config.init_from is None or str(config.init_from).startswith("pretrained:")
    assert compose("serve", [])[0].run == "pretrained:grid"
