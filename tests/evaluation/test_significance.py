"""Who is better, and when nobody can say."""

from __future__ import annotations

import io
import json
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
from tests.evaluation.test_slices import told


@pytest.fixture
def scenes(uci: DigitSource) -> SyntheticDataset:
    return SyntheticDataset(GridConfig(), uci.pools["val"])


def missing(scenes: SyntheticDataset, ids: range) -> EvalResult:
    """Of a reader that misses the last digit of these."""
    return told(scenes, 300, {id_: scenes[id_].digits[0, :3].tolist() for id_ in ids})


def test_of_two_readers_the_scenes_that_one_alone_reads_decide(scenes: SyntheticDataset) -> None:
    one, other = missing(scenes, range(60)), missing(scenes, range(40, 70))
    found = compare_pair(ComparedModel("one", [one]), ComparedModel("other", [other]))
    assert found.gained.tolist() == list(range(40))
    assert found.lost.tolist() == list(range(60, 70))
    assert found.difference.value == pytest.approx(30 / 300)
    assert describe_difference(found.difference) == "better"
    back = compare_pair(ComparedModel("other", [other]), ComparedModel("one", [one]))
    assert describe_difference(back.difference) == "worse"
    assert torch.equal(back.gained, found.lost)


def test_who_errs_as_often_elsewhere_is_not_shown_to_differ(scenes: SyntheticDataset) -> None:
    one, other = missing(scenes, range(10)), missing(scenes, range(5, 16))
    found = compare_pair(ComparedModel("one", [one]), ComparedModel("other", [other]))
    assert describe_difference(found.difference) == "no difference shown"


def test_seeds_are_compared_by_welch(scenes: SyntheticDataset) -> None:
    many = [[10, 14, 12], [20, 29, 25]]
    one, other = (ComparedModel(str(each), [missing(scenes, range(wrong)) for wrong in each]) for each in many)
    found = compare_pair(one, other).difference
    expected = stats.ttest_ind(other.scores, one.scores, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert one.std == pytest.approx(torch.tensor(one.scores, dtype=torch.float64).std().item())
    same = compare_pair(ComparedModel("a", one.results[:1] * 2), ComparedModel("b", one.results[:1] * 2)).difference
    assert describe_difference(same) == "no difference shown"
    assert same.p_value == 1


def test_a_chance_in_few_digits() -> None:
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


def told_of(command: Callable[..., None], *arguments: Any) -> str:
    """What a command prints."""
    said = io.StringIO()
    command(*arguments, Console(file=said, width=100, highlight=False, soft_wrap=True))
    return said.getvalue()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["short/0", "long/0"], "better"),
        (["long/0", "short/0"], "worse"),
        (["short/0", "short/../short/0"], "no difference shown"),
        (["short", "long"], "better"),
        (["short/*", "long/[012]"], "better"),
        (["long", "long/*"], "no difference shown"),
    ],
)
def test_budgets_differ_and_a_reader_does_not_differ_from_itself(
    names: list[str], expected: str, trained: Path, tmp_path: Path
) -> None:
    groups = {f"{trained}/{name}": expand_runs(f"{trained}/{name}") for name in names}
    single = "0" in names[0]
    assert [len(runs) for runs in groups.values()] == [1 if single else 3] * 2
    config = CompareConfig(runs=list(groups), output_dir=str(tmp_path), device="cpu", scenes=300)
    said = told_of(compare_models, groups, config)
    assert f"B against A: {expected}" in said
    assert "NOT MNIST" in said
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told["scenes"] == 300
    assert len(told["contenders"][0]["exact_match"]) == (1 if single else 3)
    page = (tmp_path / "comparison.html").read_text()
    assert expected in page
    assert ("reads right" in page) == (single and expected != "no difference shown")


def test_a_folder_of_runs_is_a_table_that_can_be_sorted(trained: Path, tmp_path: Path) -> None:
    for path in trained.glob("*/*"):  # as a sweep records them
        Run(path).update_metrics(
            overrides=[f"trainer.max_steps={Run(path).config.trainer.max_steps}", f"seed={path.name}"]
        )
    said = told_of(
        compare_sweep, str(trained), expand_runs(str(trained)), CompareConfig(runs=["it"], output_dir=str(tmp_path))
    )
    assert "max_steps=60" in said
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<tr>") == 1 + 6
    assert page.count("<svg") == 1, "a drawing of the one key that differs"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["short/0", "long"], "long holds 3"),
        (["short", "long/0"], "runs compare with runs, and several seeds with several"),
        (["*/*", "long"], "differ in more than their seed"),
    ],
)
def test_what_would_mix_seeds_and_recipes_is_refused_before_any_reading(
    names: list[str], said: str, trained: Path
) -> None:
    groups = {f"{trained}/{name}": expand_runs(f"{trained}/{name}") for name in names}
    with pytest.raises(ValueError, match=said):
        check_comparable(groups)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "runs=.. is empty"),
        (["gone/*"], "gone/. holds no finished run"),
        (["gone"], "gone does not exist"),
        (["a", "a/"], "names one of them twice"),
    ],
)
def test_nothing_to_compare(runs: list[str], said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        expand_runs(CompareConfig(runs=runs).runs[0])
