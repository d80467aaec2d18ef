"""Comparing models and recipes, and the `compare` command."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from scipy import stats

import mnist_seq
from mnist_seq.compare import check_comparable, compare_models, compare_sweep, expand_runs
from mnist_seq.config import CompareConfig, GridConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.sources import DigitSource
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.evaluation.significance import ComparedModel, compare_pair, describe_difference, format_p_value
from mnist_seq.run_dir import Run
from tests.conftest import TINY
from tests.evaluation.test_slices import make_result


@pytest.fixture
def scenes(uci: DigitSource) -> SyntheticDataset:
    return SyntheticDataset(GridConfig(), uci.pools["val"])


def result_with_errors(scenes: SyntheticDataset, ids: range) -> EvalResult:
    """The result of a model that misses the last digit of these scenes."""
    return make_result(scenes, 300, {id_: scenes[id_].digits[0, :3].tolist() for id_ in ids})


def test_two_models_are_compared_by_the_scenes_that_only_one_predicts_correctly(scenes: SyntheticDataset) -> None:
    one, other = result_with_errors(scenes, range(60)), result_with_errors(scenes, range(40, 70))
    found = compare_pair(ComparedModel("one", [one]), ComparedModel("other", [other]))
    assert found.gained.tolist() == list(range(40))
    assert found.lost.tolist() == list(range(60, 70))
    assert found.difference.value == pytest.approx(30 / 300)
    assert describe_difference(found.difference) == "significantly better"
    back = compare_pair(ComparedModel("other", [other]), ComparedModel("one", [one]))
    assert describe_difference(back.difference) == "significantly worse"
    assert torch.equal(back.gained, found.lost)


def test_as_many_errors_on_other_scenes_are_not_a_significant_difference(scenes: SyntheticDataset) -> None:
    one, other = result_with_errors(scenes, range(10)), result_with_errors(scenes, range(5, 16))
    found = compare_pair(ComparedModel("one", [one]), ComparedModel("other", [other]))
    assert describe_difference(found.difference) == "not significantly different"


def test_seeds_are_compared_by_welchs_test(scenes: SyntheticDataset) -> None:
    many = [[10, 14, 12], [20, 29, 25]]
    one, other = (
        ComparedModel(str(each), [result_with_errors(scenes, range(wrong)) for wrong in each]) for each in many
    )
    found = compare_pair(one, other).difference
    expected = stats.ttest_ind(other.scores, one.scores, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert one.std == pytest.approx(torch.tensor(one.scores, dtype=torch.float64).std().item())
    same = compare_pair(ComparedModel("a", one.results[:1] * 2), ComparedModel("b", one.results[:1] * 2)).difference
    assert describe_difference(same) == "not significantly different"
    assert same.p_value == 1


def test_p_values_have_two_digits() -> None:
    assert [format_p_value(p) for p in (0.00001, 0.0432, 1.0)] == ["< 0.001", "0.043", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes of three seeds each."""
    folder = tmp_path_factory.mktemp("trained")
    for name, steps in (("short", 2), ("long", 60)):
        for seed in (0, 1, 2):
            where = f"hydra.run.dir={folder}/{name}/{seed}"
            mnist_seq.fit(*TINY, "model=classifier", "data=single", f"trainer.max_steps={steps}", f"seed={seed}", where)
    return folder


def output_of(command: Callable[..., None], *arguments: Any) -> str:
    """The output of a command."""
    stream = io.StringIO()
    command(*arguments, Console(file=stream, width=100, highlight=False, soft_wrap=True))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["short/0", "long/0"], "significantly better"),
        (["long/0", "short/0"], "significantly worse"),
        (["short/0", "short/../short/0"], "not significantly different"),
        (["short", "long"], "significantly better"),
        (["short/*", "long/[012]"], "significantly better"),
        (["long", "long/*"], "not significantly different"),
    ],
)
def test_longer_training_is_significantly_better_and_a_model_equals_itself(
    names: list[str], expected: str, trained: Path, tmp_path: Path
) -> None:
    groups = {f"{trained}/{name}": expand_runs(f"{trained}/{name}") for name in names}
    single = "0" in names[0]
    assert [len(runs) for runs in groups.values()] == [1 if single else 3] * 2
    config = CompareConfig(runs=list(groups), output_dir=str(tmp_path), device="cpu", scenes=300)
    output = output_of(compare_models, groups, config)
    assert f"B against A: {expected}" in output
    assert "NOT MNIST" in output
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["scenes"] == 300
    assert len(content["models"][0]["exact_match"]) == (1 if single else 3)
    page = (tmp_path / "comparison.html").read_text()
    assert expected in page
    assert ("A correct, B wrong" in page or "B correct, A wrong" in page) == (
        single and expected != "not significantly different"
    )


def test_folder_of_runs_becomes_a_table_with_a_figure_per_key(trained: Path, tmp_path: Path) -> None:
    for path in trained.glob("*/*"):  # as in a sweep
        Run(path).update_metrics(
            overrides=[f"trainer.max_steps={Run(path).config.trainer.max_steps}", f"seed={path.name}"]
        )
    output = output_of(
        compare_sweep, str(trained), expand_runs(str(trained)), CompareConfig(runs=["it"], output_dir=str(tmp_path))
    )
    assert "max_steps=60" in output
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<tr>") == 1 + 6
    assert page.count("<svg") == 1, "a figure of the one key that differs"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["short/0", "long"], "long holds 3"),
        (["short", "long/0"], "runs mixes single runs with groups of seeds"),
        (["*/*", "long"], "differ in more than their seed"),
    ],
)
def test_mixing_seeds_and_recipes_is_refused(names: list[str], message: str, trained: Path) -> None:
    groups = {f"{trained}/{name}": expand_runs(f"{trained}/{name}") for name in names}
    with pytest.raises(ValueError, match=message):
        check_comparable(groups)


def test_two_runs_of_one_seed_are_no_independent_samples(trained: Path, tmp_path: Path) -> None:
    for name in ("first", "again"):
        shutil.copytree(next(trained.glob("short/0")), tmp_path / name)
    with pytest.raises(ValueError, match=r"several runs of one seed \(0, 0\)"):
        check_comparable({"short": expand_runs(f"{tmp_path}/*")})


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "runs=.. is empty"),
        (["gone/*"], "gone/. holds no finished run"),
        (["gone"], "gone does not exist"),
        (["a", "a/"], "lists a run twice"),
        (["a/**x"], r"runs=\[a/\*\*x\] is not a pattern of paths: .* entire path component"),
    ],
)
def test_pattern_without_runs_is_refused(runs: list[str], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        expand_runs(CompareConfig(runs=runs).runs[0])
