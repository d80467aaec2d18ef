"""Search spaces and studies: what cannot be trained or resumed is refused before the first trial."""

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
    "unknown key": (
        {"model.width": [3]},
        "space.model.width=3 is invalid in every combination: model.width=3 is unknown",
    ),
    "unknown preset": ({"model": ["enc_dec", "rnn"]}, "space.model=rnn is invalid in every combination"),
    "wrong type": ({"model.dim": [16, "wide"]}, "space.model.dim=wide is invalid"),
    "range beyond the limit": ({"model.dropout": {"low": 0.1, "high": 2.0}}, "space.model.dropout=2.0 is invalid"),
    "heads that do not divide": (
        {"model.num_heads": [2, 5]},
        "space.model.num_heads=5 is invalid in every combination: model.num_heads=5 does not",
    ),
    "patch larger than the image": ({"model.patch_size": [7, 64]}, "space.model.patch_size=64 is invalid"),
    "loss for another model": ({"model": ["classifier"], "loss": ["cross_entropy", "multiset"]}, "space.loss=mul"),
    "no val split": (
        {"data.pool": ["split", "full"]},
        "space.data.pool=full is invalid in every combination: a trial is scored",
    ),
    "refused trainer argument": ({"+trainer.fast_dev_run": [False, True]}, "space.[+]trainer.fast_dev_run="),
    "existing run": ({"resume": ["run"]}, "resume=run cannot be searched"),
}


def config(space: dict[str, Any], *overrides: str, **keys: Any) -> SearchConfig:
    return SearchConfig(space=space, overrides=[*TINY, *overrides], **keys)


@pytest.mark.parametrize("case", UNTRAINABLE)
def test_a_candidate_that_cannot_be_trained_is_refused(case: str) -> None:
    space, message = UNTRAINABLE[case]
    with pytest.raises(UserError, match=message) as error:
        search_space.require_valid_space(config(space))
    assert "\n" not in str(error.value)


def test_errors_of_the_shared_overrides_are_not_blamed_on_a_candidate() -> None:
    with pytest.raises(UserError, match="^a trial is scored on the val split"):
        search_space.require_valid_space(config({"seed": [1, 2]}, "data.pool=full"))


def test_a_candidate_that_needs_a_later_candidate_of_another_key_is_accepted() -> None:
    search_space.require_valid_space(config({"model.dim": [16, 20], "model.num_heads": [2, 5]}))


CHOICES: dict[str, list[Any]] = {
    "optim.betas": [[0.9, 0.98], [0.9, 0.99]],
    "callbacks": ["ema", ["ema", "early_stopping"]],
    "data.augment": [{"rotation": 5.0, "shear": 1}, {"shift": 2.0}],
    "+trainer.profiler": [None, "simple"],
    "trainer.compile": [False, None],
}


@pytest.mark.parametrize("key", CHOICES)
def test_choices_of_any_type_reach_the_config_unchanged(key: str) -> None:
    space = {key: CHOICES[key]}
    search_space.require_valid_space(config(space))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggested = set()
    for _ in range(12):
        trial = study.ask()
        (override,) = search_space.suggest_overrides(trial, space)
        suggested.add(override)
        study.tell(trial, 1.0)
    for override in suggested:
        to_dataclass(compose("train", [*TINY, override])[0], TrainConfig)
    assert suggested == {f"{key}={search_space.to_override_value(value)}" for value in CHOICES[key]}


def test_strings_within_lists_are_quoted_where_hydra_needs_it() -> None:
    assert (
        search_space.to_override_value(["a", "b c", "it's", 1, None, True, {"k": "x,y"}])
        == "[a,'b c','it\\'s',1,null,true,{k:'x,y'}]"
    )


def test_a_study_with_list_valued_choices_can_be_resumed_and_plotted(tmp_path: Path) -> None:
    for score in (0.4, 0.5):  # the second study is loaded from the storage
        study = search.open_study(config({"optim.betas": [[0.9, 0.98], [0.9, 0.99]]}, output_dir=str(tmp_path)))
        trial = study.ask()
        assert search_space.suggest_overrides(trial, {"optim.betas": [[0.9, 0.98], [0.9, 0.99]]})[0].startswith(
            "optim.betas=[0.9,0.9"
        )
        study.tell(trial, score)
    assert len(study_plots.write_study_plots(study, tmp_path)) == 3


SPACE = {"model.norm": ["pre", "post"], "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
CHANGED: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "choices": (
        SPACE | {"model.norm": ["pre", "post", "none"]},
        (),
        r"the distribution of this study's earlier trials, \['pre'",
    ),
    "a range instead of choices": (SPACE | {"model.norm": {"low": 1, "high": 2}}, (), "space.model.norm="),
    "integers": (SPACE | {"optim.lr": {"low": 1, "high": 2}}, (), "space.optim.lr="),
    "linear instead of log scale": (SPACE | {"optim.lr": {"low": 1e-4, "high": 1e-2}}, (), "space.optim.lr="),
    "overrides": (SPACE, ("trainer.max_steps=13",), "holds trials with trainer.max_steps=12, not 13"),
}


@pytest.fixture
def study_dir(tmp_path: Path) -> str:
    """The directory of a study with one trial."""
    study = search.open_study(config(SPACE, output_dir=str(tmp_path)))
    trial = study.ask()
    search_space.suggest_overrides(trial, SPACE)
    study.tell(trial, 0.5)
    return str(tmp_path)


@pytest.mark.parametrize("case", CHANGED)
def test_a_study_with_incomparable_trials_cannot_be_resumed(case: str, study_dir: str) -> None:
    space, overrides, message = CHANGED[case]
    with pytest.raises(UserError, match=message) as error:
        search.open_study(config(space, *overrides, output_dir=study_dir))
    assert f"choose another study= and output_dir= than study=search output_dir={study_dir}" in str(error.value)


def test_a_study_can_be_resumed_with_wider_ranges_other_key_order_and_loggers(study_dir: str) -> None:
    wider = SPACE | {"optim.lr": {"low": 1e-5, "high": 1e-1, "log": True}}
    search.open_study(config(wider, output_dir=study_dir))
    search.open_study(config({"optim.lr": wider["optim.lr"], "model.norm": SPACE["model.norm"]}, output_dir=study_dir))
    search.open_study(config(SPACE, "logger=tensorboard", output_dir=study_dir, pruner="none"))


def test_a_study_that_minimizes_is_refused(tmp_path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", study_name="search", direction="minimize")
    with pytest.raises(UserError, match="does not maximize a single objective"):
        search.open_study(config(SPACE, output_dir=str(tmp_path)))


@pytest.mark.slow
def test_invalid_or_changed_searches_end_in_one_line_before_any_trial(tmp_path: Path) -> None:
    betas = [[0.9, 0.98], [0.9, 0.99]]
    command = write_search(tmp_path, space={"optim.betas": betas}, pruner="none")
    preset = tmp_path / "conf" / "search" / "custom.yaml"
    run(tmp_path, *command, "n_trials=1")
    for old, new in ((f"{betas[1][1]}", "0.97"), ("data.digits=uci", "data.pool=full")):
        text = preset.read_text()
        assert old in text
        preset.write_text(text.replace(old, new))
        out, err = run(tmp_path, *command, "n_trials=2", code=1)
        assert len(err.strip().splitlines()) == 1, out + err
        preset.write_text(text)
    run(tmp_path, *command, "n_trials=2")
    assert [it.state for it in study_of(tmp_path).trials] == [TrialState.COMPLETE] * 2
