"""Searches: valid configs, suggested overrides, retries, and workers that share a study."""

from __future__ import annotations

import contextlib
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
    """Write a search preset; return the command that runs it."""
    (folder / "conf" / "search").mkdir(parents=True)
    text = yaml.safe_dump({"study": "custom", "overrides": list(TINY), "space": SPACE, "n_jobs": 1} | keys)
    (folder / "conf" / "search" / "custom.yaml").write_text(f"# @package _global_\n{text}")
    return ("mnist_seq.search", "--config-dir", str(folder / "conf"), "search=custom", f"output_dir={folder}/search")


def study_of(folder: Path, storage: str | None = None) -> optuna.Study:
    return optuna.load_study(study_name="custom", storage=storage or f"sqlite:///{folder}/search/study.db")


@pytest.mark.parametrize(
    ("invalid", "message"),
    [
        ({"space": {}}, "space is empty"),
        ({"space": {"seed": {"low": 1}}}, "must have low and high"),
        ({"space": {"seed": {"low": 2, "high": 1}}}, "must have low below high"),
        ({"space": {"seed": 3}}, "must be a list of choices or a range"),
        ({"space": {"seed": []}}, "must be a list of choices or a range"),
        ({"space": {"seed": [1, 2, 1]}}, "lists a choice twice"),
        ({"space": {"seed": {"low": "a", "high": "b"}}}, "must have numbers"),
        ({"space": {"seed": {"low": 1, "high": 9, "step": 0.5}}}, "is an integer range: use an integer step"),
        ({"space": {"seed": {"low": 1, "high": 9, "step": 0}}}, "a step above 0"),
        ({"space": {"seed": {"low": 0, "high": 9, "log": True}}}, "low above 0 where log is true"),
        ({"space": {"seed": {"low": 1, "high": 9, "log": "yes"}}}, "true or false for log"),
        ({"space": {"seed": {"low": 1, "high": 9, "log": True, "step": 2}}}, "has log: true and a step"),
        ({"pruner": "axe"}, "pruner=axe is unknown"),
        ({"n_trials": 0}, "n_trials=0 must be at least 1"),
        ({"n_jobs": 0}, "n_jobs=0 must be at least 1"),
    ],
)
def test_invalid_search_configs_are_refused(invalid: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchConfig(**{"space": SPACE, **invalid})


@pytest.mark.parametrize("path", sorted((CONFIG_DIR / "search").glob("*.yaml")), ids=lambda path: path.stem)
def test_first_trial_of_every_search_preset_composes(path: Path) -> None:
    config = to_dataclass(compose("search", [f"search={path.stem}"])[0], SearchConfig)
    assert Path(config.output_dir).name == config.study == path.stem
    overrides = [*config.overrides, *search_space.first_choices(config.space)]
    to_dataclass(compose("train", overrides).config, TrainConfig)


def test_commands_of_the_wandb_sweep_compose() -> None:
    composed = compose("train", wandb_arguments(yaml.safe_load((CONFIG_DIR / "wandb_sweep.yaml").read_text())))
    to_dataclass(composed.config, TrainConfig)
    assert composed.run_dir.parts[0] == "outputs"


def wandb_arguments(sweep: dict[str, Any]) -> list[str]:
    """The arguments with which W&B's agent would start the first run, by its own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    first_values = {
        key: {"value": candidates["values"][0] if "values" in candidates else candidates["min"]}
        for key, candidates in sweep["parameters"].items()
    }
    macros = create_sweep_command_args({"args": first_values}) | {"program": [sweep["program"]]}
    words = []
    for word in create_sweep_command(sweep["command"]):
        words += macros.get(word[2:-1], [word]) if word.startswith("${") else [word]
    assert words[:4] == ["${env}", "${interpreter}", "-m", "mnist_seq.train"]
    assert sweep["metric"] == {"name": "val/exact_match", "goal": "maximize"}
    return words[4:]


def test_suggested_values_lie_in_the_space() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggestions = [dict(it.split("=") for it in search_space.suggest_overrides(study.ask(), SPACE)) for _ in range(40)]
    assert {it["model.norm"] for it in suggestions} == {"pre", "post"}
    assert {it["model.encoder_depth"] for it in suggestions} == {"1", "2"}
    rates = sorted(float(it["optim.lr"]) for it in suggestions)
    assert rates[0] >= 1e-4
    assert rates[-1] <= 1e-2
    assert rates[len(rates) // 2] < 2e-3, "log-uniform"
    assert search_space.first_choices(SPACE) == ["model.norm=pre", "optim.lr=0.0001", "model.encoder_depth=1"]


def test_a_search_that_goes_on_with_its_seed_draws_other_trials(tmp_path: Path) -> None:
    config = SearchConfig(space=SPACE, seed=3, output_dir=str(tmp_path), study="custom")
    drawn = []
    for _ in range(2):
        study = search.open_study(config)
        trial = study.ask()
        search_space.suggest_overrides(trial, SPACE)
        study.tell(trial, 0.5)
        drawn.append(trial.params["optim.lr"])
    assert drawn[0] != drawn[1]


def test_who_stops_a_search_uses_up_no_retries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SearchConfig(space=SPACE, output_dir=str(tmp_path), study="custom", n_trials=1, max_retries=0)
    worker = search.SearchWorker(config, lambda *_: None)

    def stop(*_: object) -> float:
        worker._stop.set()
        raise search._TrialInterrupted

    monkeypatch.setattr(worker, "_run_trial", stop)
    worker._worker_loop(Slot(1))
    assert [trial.state for trial in worker.study.trials] == [TrialState.FAIL, TrialState.WAITING]
    again = worker.study.trials[1]
    assert search.original_number(again) == 0
    assert search.RetryHeartbeatStaleTrialCallback.retry_history(again) == []


@pytest.mark.parametrize("pruner", search.PRUNERS)
def test_no_pruner_stops_the_best_trial_and_every_one_but_none_stops_the_worst(pruner: str, tmp_path: Path) -> None:
    """By validations every 100 steps, as a run logs them."""
    config = SearchConfig(space=SPACE, seed=0, output_dir=str(tmp_path), study="custom", pruner=pruner)
    study, pruned = search.open_study(config), []
    for number in range(20):
        trial, run, reported = study.ask(), Run(tmp_path / str(number)), set[float]()
        quality = 1 - number / 20
        run.path.mkdir()
        try:
            for step in range(100, 2800, 100):
                with (run.path / "metrics.csv").open("a") as file:
                    file.write("" if step > 100 else "step,val/exact_match\n")
                    file.write(f"{step},{quality * step / 2800}\n")
                search._report_and_prune(trial, run, reported)
            study.tell(trial, quality)
        except optuna.TrialPruned:
            pruned.append(number)
            study.tell(trial, state=TrialState.PRUNED)
    assert 0 not in pruned
    assert (len(pruned) > 5) == (pruner != "none")


def test_retries_of_a_trial_count_as_one_trial() -> None:
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
def test_a_search_ends_with_its_best_trial_and_the_command_to_evaluate_it(tmp_path: Path) -> None:
    space = SPACE | {"model.dim": [16, 20], "model.num_heads": [2, 5]}  # 5 divides 20 but not 16
    command = write_search(tmp_path, seed=6, space=space, pruner="none")
    out, _ = run(tmp_path, *command, "n_trials=3", code=1)
    trials = study_of(tmp_path).trials
    states = Counter("FAIL" if it.params["model.dim"] % it.params["model.num_heads"] else "COMPLETE" for it in trials)
    assert Counter(it.state.name for it in trials) == states
    assert states["FAIL"] > 0 < states["COMPLETE"], "choose a seed that shows both"
    assert f"{states['COMPLETE']} complete, 0 pruned, {states['FAIL']} failed" in out
    best = max((it for it in trials if it.value is not None), key=lambda it: it.value or 0)
    assert f"evaluate run={best.user_attrs['run']}" in out
    run(tmp_path, "mnist_seq.evaluate", f"run={best.user_attrs['run']}", "split=val")
    assert Run(best.user_attrs["run"]).metrics["val"]["exact_match"] == best.value
    assert (tmp_path / "search" / "history.html").stat().st_size > 1000


def test_a_trial_never_takes_over_the_run_of_another_search(tmp_path: Path) -> None:
    overrides = [*TINY, "data=grid", "trainer.max_steps=2"]
    search.train_trial(overrides, tmp_path / "trial")
    score = Run(tmp_path / "trial").metrics["val"]["exact_match"]
    search.train_trial(overrides, tmp_path / "trial")
    assert not (tmp_path / "trial" / "failed.txt").exists(), "its own finished run is accepted"
    search.train_trial([*overrides, "model.norm=post"], tmp_path / "trial")
    assert "model.norm=pre, not post: choose another output_dir=" in (tmp_path / "trial" / "failed.txt").read_text()
    assert Run(tmp_path / "trial").metrics["val"]["exact_match"] == score


def trains_a_trial(worker: subprocess.Popen[str], search_dir: Path) -> bool:
    """Whether a process of the worker's group holds the lock of a trial."""
    for holder in search_dir.glob("trial-*/.lock.holder"):
        with contextlib.suppress(OSError, IndexError):  # a lock that is being written or freed
            if os.getpgid(int(holder.read_text().split()[1])) == worker.pid:
                return True
    return False


def check_search_survives_killed_workers(tmp_path: Path, storage: str | None) -> None:
    """Kill one of three workers twice: the study still ends with exactly n_trials trials, each with its run."""
    # A trial takes several seconds: else the others would end all trials while the killed worker is started again.
    overrides = [*TINY, "trainer.max_steps=400", "trainer.val_check_interval=200", "trainer.threads=1"]
    command = write_search(tmp_path, overrides=overrides, heartbeat_timeout=6, pruner="none", storage=storage)
    workers = [start(tmp_path, *command, "n_trials=6", group=True) for _ in range(3)]
    for _ in range(2):
        while not trains_a_trial(workers[0], tmp_path / "search"):
            assert workers[0].poll() is None, "the worker ended before it could be killed"
            time.sleep(0.05)
        os.killpg(workers[0].pid, signal.SIGKILL)
        workers[0].communicate()
        workers[0] = start(tmp_path, *command, "n_trials=6", group=True)
    for worker in workers:
        out, err = worker.communicate(timeout=400)
        assert worker.returncode == 0, out + err
        assert "6 complete, 0 pruned, 0 failed" in out
    study = study_of(tmp_path, storage)
    assert Counter(it.state.name for it in study.trials if "surplus" not in it.user_attrs) == {"COMPLETE": 6, "FAIL": 2}
    attempts = search.latest_attempts(study.trials)
    assert len(attempts) == 6
    for number, trial in attempts.items():
        assert Run(tmp_path / "search" / f"trial-{number:04d}").metrics["val"]["exact_match"] == trial.value


@pytest.mark.slow
def test_no_trial_is_lost_when_workers_are_killed(tmp_path: Path) -> None:
    check_search_survives_killed_workers(tmp_path, None)


def test_a_trial_beyond_n_trials_is_dropped_as_surplus(tmp_path: Path) -> None:
    """Two workers saw room for one more trial, and both drew one."""
    config = SearchConfig(space=SPACE, n_trials=2, output_dir=str(tmp_path / "search"), study="custom")
    worker = search.SearchWorker(config, on_trial_end=lambda study, trial: None)
    worker.study.add_trial(create_trial(value=0.5))
    last, surplus = worker.study.ask(), worker.study.ask()
    with pytest.raises(search._TrialFailed):
        worker._run_trial(surplus, Slot(1))
    assert surplus.user_attrs == {"surplus": True}
    assert list(search.latest_attempts(worker.study.trials)) == [0, last.number]
    assert not list((tmp_path / "search").glob("trial-*"))


def test_a_trial_on_another_digit_source_than_earlier_ones_has_no_score(tmp_path: Path) -> None:
    config = SearchConfig(space=SPACE, output_dir=str(tmp_path / "search"), study="custom")
    worker = search.SearchWorker(config, on_trial_end=lambda study, trial: None)
    worker.study.add_trial(create_trial(value=0.5, user_attrs={"digits": "mnist"}))
    for digits, message in (("mnist", None), ("uci", "evaluated on digits=uci, but earlier trials on digits=mnist")):
        run = Run(tmp_path / digits)
        run.path.mkdir()
        run.update_metrics(digits=digits)
        trial = worker.study.ask()
        if message is None:
            worker._require_same_digits(trial, run)
            assert not (run.path / "failed.txt").exists()
            continue
        with pytest.raises(search._TrialFailed, match=message):
            worker._require_same_digits(trial, run)
        assert message in (run.path / "failed.txt").read_text()
