"""What a search could not try, or not go on with, is refused before its first trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import SearchConfig, TrainConfig
from mnist_seq.errors import UserError
from mnist_seq.reporting import study_plots
from mnist_seq.sweeps import search, search_space
from tests.conftest import TINY
from tests.e2e.forked_command import run
from tests.sweeps.test_search import study_of, write_search

UNTRAINABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no key": (
        {"model.width": [3]},
        "space.model.width has 3, and no trial could be: Could not override 'model.width'",
    ),
    "no preset": ({"model": ["enc_dec", "rnn"]}, "space.model has rnn, and no trial could be"),
    "no value of its type": ({"model.dim": [16, "wide"]}, "space.model.dim has wide"),
    "no end of a range": ({"model.dropout": {"low": 0.1, "high": 2.0}}, "space.model.dropout has 2.0"),
    "no divisor": (
        {"model.num_heads": [2, 5]},
        "space.model.num_heads has 5, and no trial could be: model.num_heads=5 does not",
    ),
    "too large a patch": ({"model.patch_size": [7, 64]}, "space.model.patch_size has 64"),
    "a loss for other models": ({"model": ["classifier"], "loss": ["cross_entropy", "multiset"]}, "space.loss has mul"),
    "no val": ({"data.pool": ["split", "full"]}, "space.data.pool has full, and no trial could be: a trial is scored"),
    "what the trainer refuses": ({"+trainer.fast_dev_run": [False, True]}, "space.[+]trainer.fast_dev_run has"),
    "a run that is there": ({"resume": ["run"]}, "resume=run cannot be searched"),
}


def config(space: dict[str, Any], *overrides: str, **keys: Any) -> SearchConfig:
    return SearchConfig(space=space, overrides=[*TINY, *overrides], **keys)


@pytest.mark.parametrize("case", UNTRAINABLE)
def test_a_value_that_no_trial_could_be_trained_with_is_refused(case: str) -> None:
    values, said = UNTRAINABLE[case]
    with pytest.raises(UserError, match=said) as refused:
        search_space.require_valid_space(config(values))
    assert "\n" not in str(refused.value)


def test_overrides_that_no_trial_could_be_trained_with_are_refused_as_such() -> None:
    with pytest.raises(UserError, match="^a trial is scored on val"):
        search_space.require_valid_space(config({"seed": [1, 2]}, "data.pool=full"))


def test_a_value_that_suits_others_than_the_first_of_the_other_keys_may_be_searched() -> None:
    search_space.require_valid_space(config({"model.dim": [16, 20], "model.num_heads": [2, 5]}))


LISTS: dict[str, list[Any]] = {
    "optim.betas": [[0.9, 0.98], [0.9, 0.99]],
    "callbacks": ["ema", ["ema", "early_stopping"]],
    "data.augment": [{"rotation": 5.0, "shear": 1}, {"shift": 2.0}],
    "+trainer.profiler": [None, "simple"],
    "trainer.compile": [False, None],
}


@pytest.mark.parametrize("key", LISTS)
def test_choices_of_any_type_are_trained_with_as_they_are_written(key: str) -> None:
    values = {key: LISTS[key]}
    search_space.require_valid_space(config(values))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = set()
    for _ in range(12):
        trial = study.ask()
        (override,) = search_space.suggest_overrides(trial, values)
        found.add(override)
        study.tell(trial, 1.0)
    for override in found:
        to_dataclass(compose("train", [*TINY, override])[0], TrainConfig)
    assert found == {f"{key}={search_space.to_override_value(value)}" for value in LISTS[key]}


def test_words_within_lists_are_quoted_where_hydra_would_take_them_for_grammar() -> None:
    assert (
        search_space.to_override_value(["a", "b c", "it's", 1, None, True, {"k": "x,y"}])
        == "[a,'b c','it\\'s',1,null,true,{k:'x,y'}]"
    )


def test_list_valued_choices_are_searched_gone_on_with_and_drawn(tmp_path: Path) -> None:
    for score in (0.4, 0.5):  # what the storage kept is what was given
        study = search.open_study(config({"optim.betas": [[0.9, 0.98], [0.9, 0.99]]}, output_dir=str(tmp_path)))
        trial = study.ask()
        assert search_space.suggest_overrides(trial, {"optim.betas": [[0.9, 0.98], [0.9, 0.99]]})[0].startswith(
            "optim.betas=[0.9,0.9"
        )
        study.tell(trial, score)
    assert len(study_plots.write_study_plots(study, tmp_path)) == 3


BEFORE = {"model.norm": ["pre", "post"], "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
CHANGED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "choices": (BEFORE | {"model.norm": ["pre", "post", "none"]}, (), r"what trials of this study chose from, \['pre'"),
    "a range for choices": (BEFORE | {"model.norm": {"low": 1, "high": 2}}, (), "space.model.norm="),
    "whole numbers": (BEFORE | {"optim.lr": {"low": 1, "high": 2}}, (), "space.optim.lr="),
    "a scale": (BEFORE | {"optim.lr": {"low": 1e-4, "high": 1e-2}}, (), "space.optim.lr="),
    "overrides": (BEFORE, ("trainer.max_steps=13",), "holds trials with trainer.max_steps=12, not 13"),
}


@pytest.fixture
def begun(tmp_path: Path) -> str:
    """A study with a trial."""
    study = search.open_study(config(BEFORE, output_dir=str(tmp_path)))
    trial = study.ask()
    search_space.suggest_overrides(trial, BEFORE)
    study.tell(trial, 0.5)
    return str(tmp_path)


@pytest.mark.parametrize("case", CHANGED)
def test_a_study_whose_trials_do_not_compare_is_not_gone_on_with(case: str, begun: str) -> None:
    values, overrides, said = CHANGED[case]
    with pytest.raises(UserError, match=said) as refused:
        search.open_study(config(values, *overrides, output_dir=begun))
    assert f"choose another study= and output_dir= than study=search output_dir={begun}" in str(refused.value)


def test_a_study_goes_on_with_wider_ranges_other_keys_and_loggers(begun: str) -> None:
    wider = BEFORE | {"optim.lr": {"low": 1e-5, "high": 1e-1, "log": True}}
    search.open_study(config(wider, output_dir=begun))
    search.open_study(config({"optim.lr": wider["optim.lr"], "model.norm": BEFORE["model.norm"]}, output_dir=begun))
    search.open_study(config(BEFORE, "logger=tensorboard", output_dir=begun, pruner="none"))


def test_a_study_that_minimises_is_no_search(tmp_path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", study_name="search", direction="minimize")
    with pytest.raises(UserError, match="does not maximise one score"):
        search.open_study(config(BEFORE, output_dir=str(tmp_path)))


@pytest.mark.slow
def test_a_search_burns_no_trial_on_what_could_be_known_before(tmp_path: Path) -> None:
    betas = [[0.9, 0.98], [0.9, 0.99]]
    asked = write_search(tmp_path, space={"optim.betas": betas}, pruner="none")
    preset = tmp_path / "conf" / "search" / "mine.yaml"
    run(tmp_path, *asked, "n_trials=1")
    for before, after in ((f"{betas[1][1]}", "0.97"), ("data.digits=uci", "data.pool=full")):
        text = preset.read_text()
        assert before in text
        preset.write_text(text.replace(before, after))
        out, err = run(tmp_path, *asked, "n_trials=2", code=1)
        assert len(err.strip().splitlines()) == 1, out + err
        preset.write_text(text)
    run(tmp_path, *asked, "n_trials=2")
    assert [it.state for it in study_of(tmp_path).trials] == [TrialState.COMPLETE] * 2
