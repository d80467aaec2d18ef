"""Searches: what is suggested, who takes what, and that none is lost when a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState, create_trial

from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import SearchConfig, TrainConfig
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.run_dir import Run
from mnist_seq.sweeps import search, search_space
from mnist_seq.sweeps.workers import Slot
from tests.conftest import TINY
from tests.e2e.background_command import start
from tests.e2e.forked_command import run

SPACE: dict[str, Any] = {
    "model.norm": ["pre", "post"],
    "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "model.encoder_depth": {"low": 1, "high": 2},
}


def write_search(folder: Path, **keys: Any) -> tuple[str, ...]:
    """A search of one's own; the command that runs it."""
    (folder / "conf" / "search").mkdir(parents=True)
    text = yaml.safe_dump({"study": "mine", "overrides": list(TINY), "space": SPACE, "n_jobs": 1} | keys)
    (folder / "conf" / "search" / "mine.yaml").write_text(f"# @package _global_\n{text}")
    return ("mnist_seq.search", "--config-dir", str(folder / "conf"), "search=mine", f"output_dir={folder}/found")


def study_of(folder: Path, storage: str | None = None) -> optuna.Study:
    return optuna.load_study(study_name="mine", storage=storage or f"sqlite:///{folder}/found/study.db")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"space": {}}, "space is empty"),
        ({"space": {"seed": {"low": 1}}}, "must have low and high"),
        ({"space": {"seed": {"low": 2, "high": 1}}}, "must have low below high"),
        ({"space": {"seed": 3}}, "must be a list of choices or a range"),
        ({"space": {"seed": []}}, "must be a list of choices or a range"),
        ({"space": {"seed": [1, 2, 1]}}, "lists a choice twice"),
        ({"space": {"seed": {"low": "a", "high": "b"}}}, "must have numbers"),
        ({"space": {"seed": {"low": 1, "high": 9, "step": 0.5}}}, "so must its step be"),
        ({"space": {"seed": {"low": 1, "high": 9, "step": 0}}}, "a step above 0"),
        ({"space": {"seed": {"low": 0, "high": 9, "log": True}}}, "low above 0 where log is true"),
        ({"space": {"seed": {"low": 1, "high": 9, "log": "yes"}}}, "true or false for log"),
        ({"space": {"seed": {"low": 1, "high": 9, "log": True, "step": 2}}}, "has log: true and a step"),
        ({"pruner": "axe"}, "pruner=axe is unknown"),
        ({"n_trials": 0}, "n_trials=0 must be at least 1"),
        ({"n_jobs": 0}, "n_jobs=0 must be at least 1"),
    ],
)
def test_laws_of_a_search(broken: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SearchConfig(**{"space": SPACE, **broken})


@pytest.mark.parametrize("path", sorted((CONFIG_DIR / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_what_a_preset_searches_can_be_trained(path: Path) -> None:
    if path.stem == "wandb":
        arguments = wandb_arguments(yaml.safe_load(path.read_text()))
    else:
        config = to_dataclass(compose("search", [f"search={path.stem}"])[0], SearchConfig)
        assert Path(config.output_dir).name == config.study == path.stem
        arguments = [*config.overrides, *search_space.first_choices(config.space)]
    for key, _, value in (it.partition("=") for it in arguments):
        assert value or key == "hydra.run.dir"
    composed = compose("train", arguments)
    to_dataclass(composed.config, TrainConfig)
    assert composed.run_dir.parts[0] == "outputs"


def wandb_arguments(sweep: dict[str, Any]) -> list[str]:
    """What W&B's agent would call the trainer with, by its own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    chosen = {
        key: {"value": among["values"][0] if "values" in among else among["min"]}
        for key, among in sweep["parameters"].items()
    }
    told = create_sweep_command_args({"args": chosen}) | {"program": [sweep["program"]]}
    words = []
    for word in create_sweep_command(sweep["command"]):
        words += told.get(word[2:-1], [word]) if word.startswith("${") else [word]
    assert words[:4] == ["${env}", "${interpreter}", "-m", "mnist_seq.train"]
    assert sweep["metric"] == {"name": "val/exact_match", "goal": "maximize"}
    return words[4:]


def test_suggestions_lie_in_their_space() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = [dict(it.split("=") for it in search_space.suggest_overrides(study.ask(), SPACE)) for _ in range(40)]
    assert {it["model.norm"] for it in seen} == {"pre", "post"}
    assert {it["model.encoder_depth"] for it in seen} == {"1", "2"}
    rates = sorted(float(it["optim.lr"]) for it in seen)
    assert rates[0] >= 1e-4
    assert rates[-1] <= 1e-2
    assert rates[len(rates) // 2] < 2e-3, "evenly over magnitudes"
    assert search_space.first_choices(SPACE) == ["model.norm=pre", "optim.lr=0.0001", "model.encoder_depth=1"]


def test_a_trial_counts_once_however_often_it_is_tried() -> None:
    study = optuna.create_study()
    for trial in (
        create_trial(state=TrialState.FAIL),
        create_trial(state=TrialState.FAIL),
        create_trial(value=0.5, system_attrs={"failed_trial": 1, "retry_history": [1]}),
        create_trial(state=TrialState.FAIL, user_attrs={"surplus": True}),
        create_trial(value=0.7),
    ):
        study.add_trial(trial)
    assert {number: trial.number for number, trial in search.latest_attempts(study.trials).items()} == {
        0: 0,
        1: 2,
        4: 4,
    }


@pytest.mark.slow
def test_a_search_ends_with_what_reads_best(tmp_path: Path) -> None:
    space = SPACE | {"model.dim": [16, 20], "model.num_heads": [2, 5]}  # 5 suits 20 alone
    asked = write_search(tmp_path, seed=6, space=space, pruner="none")
    out, _ = run(tmp_path, *asked, "n_trials=3", code=1)
    trials = study_of(tmp_path).trials
    states = Counter("FAIL" if it.params["model.dim"] % it.params["model.num_heads"] else "COMPLETE" for it in trials)
    assert Counter(it.state.name for it in trials) == states
    assert states["FAIL"] > 0 < states["COMPLETE"], "another seed shows both"
    assert f"{states['COMPLETE']} trained to the end, 0 pruned, {states['FAIL']} failed" in out
    best = max((it for it in trials if it.value is not None), key=lambda it: it.value or 0)
    assert f"evaluate run={best.user_attrs['run']}" in out
    run(tmp_path, "mnist_seq.evaluate", f"run={best.user_attrs['run']}", "split=val")
    assert Run(best.user_attrs["run"]).metrics["val"]["exact_match"] == best.value
    assert (tmp_path / "found" / "history.html").stat().st_size > 1000


def test_a_trial_takes_no_other_searchs_run_for_its_own(tmp_path: Path) -> None:
    overrides = [*TINY, "data=grid", "trainer.max_steps=2"]
    search.train_trial(overrides, tmp_path / "trial")
    score = Run(tmp_path / "trial").metrics["val"]["exact_match"]
    search.train_trial(overrides, tmp_path / "trial")
    assert not (tmp_path / "trial" / "failed.txt").exists(), "its own is left as it is"
    search.train_trial([*overrides, "model.norm=post"], tmp_path / "trial")
    assert "model.norm=pre, not post: choose another output_dir=" in (tmp_path / "trial" / "failed.txt").read_text()
    assert Run(tmp_path / "trial").metrics["val"]["exact_match"] == score


def workers_die(tmp_path: Path, storage: str | None) -> None:
    """Three workers, one killed twice: exactly the trials asked for, each with its run, and nothing left hanging."""
    asked = write_search(tmp_path, heartbeat_timeout=6, pruner="none", storage=storage)
    workers = [start(tmp_path, *asked, "n_trials=4", group=True) for _ in range(3)]
    for _ in range(2):
        while not subprocess.run(["pgrep", "-P", str(workers[0].pid)], capture_output=True).stdout:
            assert workers[0].poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        os.killpg(workers[0].pid, signal.SIGKILL)
        workers[0].communicate()
        workers[0] = start(tmp_path, *asked, "n_trials=4", group=True)
    for worker in workers:
        out, err = worker.communicate(timeout=400)
        assert worker.returncode == 0, out + err
        assert "4 trained to the end, 0 pruned, 0 failed" in out
    study = study_of(tmp_path, storage)
    assert Counter(it.state.name for it in study.trials if "surplus" not in it.user_attrs) == {"COMPLETE": 4, "FAIL": 2}
    last = search.latest_attempts(study.trials)
    assert len(last) == 4
    for number, trial in last.items():
        assert Run(tmp_path / "found" / f"trial-{number:04d}").metrics["val"]["exact_match"] == trial.value


@pytest.mark.slow
def test_no_trial_is_lost_when_workers_die(tmp_path: Path) -> None:
    workers_die(tmp_path, None)


def test_a_trial_beyond_the_number_asked_for_is_given_back(tmp_path: Path) -> None:
    """Two workers saw the same last place, and both took it."""
    config = SearchConfig(space=SPACE, n_trials=2, output_dir=str(tmp_path / "found"), study="mine")
    worker = search.SearchWorker(config, on_trial_end=lambda study, trial: None)
    worker.study.add_trial(create_trial(value=0.5))
    last, beyond = worker.study.ask(), worker.study.ask()
    with pytest.raises(search._TrialFailed):
        worker._run_trial(beyond, Slot(1))
    assert beyond.user_attrs == {"surplus": True}
    assert list(search.latest_attempts(worker.study.trials)) == [0, last.number]
    assert not list((tmp_path / "found").glob("trial-*"))


def test_a_trial_that_fell_back_on_other_digits_has_no_score(tmp_path: Path) -> None:
    config = SearchConfig(space=SPACE, output_dir=str(tmp_path / "found"), study="mine")
    worker = search.SearchWorker(config, on_trial_end=lambda study, trial: None)
    worker.study.add_trial(create_trial(value=0.5, user_attrs={"digits": "mnist"}))
    for digits, said in (("mnist", None), ("uci", "judged on digits=uci, trials before it on digits=mnist")):
        run = Run(tmp_path / digits)
        run.path.mkdir()
        run.update_metrics(digits=digits)
        trial = worker.study.ask()
        if said is None:
            worker._require_same_digits(trial, run)
            assert not (run.path / "failed.txt").exists()
            continue
        with pytest.raises(search._TrialFailed, match=said):
            worker._require_same_digits(trial, run)
        assert said in (run.path / "failed.txt").read_text()
