"""A search by Optuna: trials side by side, any number of workers on one study, none lost when one dies.

Study and storage are Optuna's. Trials that are no retries are counted by their rank, which all workers see alike: those
beyond the number asked for are given back at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mnist_seq.cli import isolate_job_failure, report_errors
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import SearchConfig, TrainConfig
from mnist_seq.errors import UserError
from mnist_seq.run_dir import FAILURE_FILE, Run
from mnist_seq.sweeps import workers
from mnist_seq.sweeps.config_diff import require_same_config
from mnist_seq.sweeps.search_space import require_compatible_study, suggest_overrides
from mnist_seq.sweeps.workers import Job, Slot

_POLL_SECONDS = 0.5
"""Seconds between looks at a trial."""
_OPEN_ATTEMPTS = 5
"""To open a storage."""
_SURPLUS_ATTR = "surplus"
"""Attribute of a trial beyond the number asked for."""
_DIGITS_ATTR = "digits"
"""Attribute of a trial: whose it was judged on."""
_MONITOR = "val/exact_match"
PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "none": lambda spared: optuna.pruners.NopPruner(),
    "median": lambda spared: optuna.pruners.MedianPruner(n_startup_trials=spared),
    "hyperband": lambda spared: optuna.pruners.HyperbandPruner(bootstrap_count=spared),
}


class _TrialFailed(Exception):
    """A trial has no score, and is not tried again: its config is wrong, it diverged, or none is asked for any more."""


class _TrialInterrupted(Exception):
    """A trial's process died or was stopped, and is to be tried again."""


class SearchWorker:
    """A worker: it takes trials of a study as long as some are left, one in each slot at a time.

    Args:
        tell: hears of each trial that ended here.
    """

    def __init__(self, config: SearchConfig, on_trial_end: Callable[[optuna.Study, FrozenTrial], None]) -> None:
        self.config, self.on_trial_end = config, on_trial_end
        self.study = open_study(config)
        self._stop = threading.Event()
        self._errors: list[Exception] = []

    def run(self, slots: list[Slot]) -> None:
        """Until every trial that is asked for has ended, with this worker or another."""
        threads = [threading.Thread(target=self._worker_loop, args=(slot,)) for slot in slots]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(_POLL_SECONDS)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _worker_loop(self, slot: Slot) -> None:
        again = RetryHeartbeatStaleTrialCallback(max_retry=self.config.max_retries)
        number = -1

        def objective(trial: Trial) -> float:
            nonlocal number
            number = trial.number
            return self._run_trial(trial, slot)

        try:
            while self._wait_for_trial():
                try:
                    self.study.optimize(objective, n_trials=1, catch=_TrialFailed, callbacks=[self._notify_trial_end])
                except _TrialInterrupted:
                    again(self.study, self.study.trials[number])
                except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                    if not self._was_reassigned(number):
                        raise
        except Exception as problem:
            self._errors.append(problem)
            self._stop.set()

    def _notify_trial_end(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if _SURPLUS_ATTR not in trial.user_attrs:
            self.on_trial_end(study, trial)

    def _wait_for_trial(self) -> bool:
        """Wait until there is a trial to take; False when there never will be."""
        while not self._stop.is_set():
            optuna.storages.fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            if len(latest_attempts(trials)) < self.config.n_trials or any(
                it.state == TrialState.WAITING for it in trials
            ):
                return True
            if not any(it.state == TrialState.RUNNING for it in trials):
                return False
            self._stop.wait(2 * _POLL_SECONDS)
        return False

    def _was_reassigned(self, number: int) -> bool:
        """Whether this worker was silent for so long that a trial of its was taken for dead, and given to another."""
        trials = self.study.get_trials(deepcopy=False)
        return any(number in RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials)

    def _run_trial(self, trial: Trial, slot: Slot) -> float:
        """Train as a trial suggests; exact match on val."""
        trials = self.study.get_trials(deepcopy=False)
        number = original_number(trials[trial.number])
        if number not in list(latest_attempts(trials))[: self.config.n_trials]:
            trial.set_user_attr(_SURPLUS_ATTR, True)
            raise _TrialFailed
        run = Run(Path(self.config.output_dir) / f"trial-{number:04d}")
        overrides = [*self.config.overrides, *suggest_overrides(trial, self.config.space)]
        trial.set_user_attr("run", str(run.path))
        process = workers.start_job(Job(run.path.name, run.path, train_trial, (overrides, run.path)), slot)
        reported: set[float] = set()
        try:
            while process.is_alive():
                process.join(_POLL_SECONDS)
                _report_and_prune(trial, run, reported)
                if self._stop.is_set():
                    raise _TrialInterrupted
        finally:
            process.terminate()
            process.join()
        failure = run.path / FAILURE_FILE
        if failure.exists():
            raise _TrialFailed(failure.read_text(encoding="utf-8").partition("\n")[0])
        if process.exitcode:
            raise _TrialInterrupted
        self._require_same_digits(trial, run)
        return float(run.metrics["val"]["exact_match"])

    def _require_same_digits(self, trial: Trial, run: Run) -> None:
        """Give no score to a trial that fell back on other digits than those before it: the study would rank both."""
        digits = run.metrics["digits"]
        trial.set_user_attr(_DIGITS_ATTR, digits)
        before = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = {it.user_attrs[_DIGITS_ATTR] for it in before if _DIGITS_ATTR in it.user_attrs} - {digits}
        if others:
            told = f"it was judged on digits={digits}, trials before it on digits={', '.join(sorted(others))}"
            (run.path / FAILURE_FILE).write_text(f"{told}: name one in overrides=[data.digits=...]\n", encoding="utf-8")
            raise _TrialFailed(told)


def open_study(config: SearchConfig) -> optuna.Study:
    """The study of a config: a new one, or the one that is there.

    Raises:
        UserError: its storage cannot be opened, or its trials do not compare with those that are asked for.
    """
    study = optuna.create_study(
        storage=open_storage(config),
        study_name=config.study,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=config.seed, constant_liar=True),
        pruner=PRUNERS[config.pruner](config.n_startup_trials),
        load_if_exists=True,
    )
    require_compatible_study(study, config)
    return study


def open_storage(config: SearchConfig) -> RDBStorage:
    """The storage of a config, in which workers give signs of life."""
    if config.storage is None:
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
    url = config.storage or f"sqlite:///{Path(config.output_dir) / 'study.db'}"
    problem: Exception | None = None
    for _ in range(_OPEN_ATTEMPTS):  # workers that begin together make the tables together, and one of them fails
        try:
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
                heartbeat_interval=max(1, config.heartbeat_timeout // 4),
                grace_period=config.heartbeat_timeout,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=config.max_retries),
            )
        except ImportError as missing:
            raise UserError(f"storage={url} needs a package that is not installed: {missing}") from missing
        except SQLAlchemyError as now:
            problem = now
            time.sleep(_POLL_SECONDS)
    raise UserError(f"storage={url} cannot be opened: {str(problem).partition(chr(10))[0]}") from problem


def latest_attempts(trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The last try of each trial that was not given back, by the number of its first, in order."""
    return {original_number(it): it for it in trials if _SURPLUS_ATTR not in it.user_attrs}


def original_number(trial: FrozenTrial) -> int:
    """The number of the trial that this one tries again, or its own."""
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


def train_trial(overrides: list[str], directory: Path) -> None:
    """A trial's run, or the rest of one that broke off; a mistake in it is left in its directory."""
    from mnist_seq.malloc import tune_malloc
    from mnist_seq.reporting.run_summary import print_run_summary
    from mnist_seq.training.fit import fit

    run, new_run = Run(directory), [*overrides, f"hydra.run.dir={directory}"]
    resumes = run.last_checkpoint.is_file()
    with report_errors(), isolate_job_failure(directory):
        if run.finished or resumes:
            config = to_dataclass(compose("train", overrides).config, TrainConfig)
            require_same_config(run, config, new_run, "choose another output_dir=")
        if not run.finished:
            tune_malloc()  # the process is this trial's own
            arguments = [f"resume={directory}"] if resumes else new_run
            cfg, run_dir, default_dir = compose("train", arguments, single_run=True)
            print_run_summary(fit(to_dataclass(cfg, TrainConfig), run_dir, default_dir, arguments))


def _report_and_prune(trial: Trial, run: Run, reported_steps: set[float]) -> None:
    """Tell the study how a run validated since, and give up where others did better.

    Raises:
        TrialPruned: they did.
    """
    for row in run.logged_metrics:
        if _MONITOR in row and row["step"] not in reported_steps:
            reported_steps.add(row["step"])
            trial.report(row[_MONITOR], int(row["step"]))
            if trial.should_prune():
                raise optuna.TrialPruned
