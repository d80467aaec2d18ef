"""Hyperparameter search with Optuna: parallel trials, any number of workers per study, retries after a worker dies.

Workers coordinate through the study alone. Each new trial has a number that all workers agree on, and a worker that has
drawn a trial beyond `n_trials` marks it as surplus and drops it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mnist_seq.cli import isolate_job_failure, report_errors
from mnist_seq.compose_config import compose_training
from mnist_seq.config import SearchConfig
from mnist_seq.config.override_syntax import format_override
from mnist_seq.errors import UserError
from mnist_seq.run_dir import FAILURE_FILE, Run
from mnist_seq.run_lock import wait_for_run_dir
from mnist_seq.sweeps import workers
from mnist_seq.sweeps.config_diff import require_same_config
from mnist_seq.sweeps.search_space import require_compatible_study, suggest_overrides
from mnist_seq.sweeps.workers import Job, Slot

_POLL_SECONDS = 0.5
"""Interval at which a running trial is checked."""
_OPEN_ATTEMPTS = 5
"""Attempts to open the storage."""
_SURPLUS_ATTR = "surplus"
"""Trial attribute: set on trials beyond n_trials."""
_DIGITS_ATTR = "digits"
"""Trial attribute: the digit source of its val scenes."""
_MONITOR = "val/exact_match"
PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "none": lambda n_startup_trials: optuna.pruners.NopPruner(),
    "median": lambda n_startup_trials: optuna.pruners.MedianPruner(n_startup_trials=n_startup_trials),
    "hyperband": lambda n_startup_trials: optuna.pruners.HyperbandPruner(),
}
"""Name in the config -> constructor that takes n_startup_trials."""


class _TrialFailed(Exception):
    """The trial has no score and is not retried: its config is wrong, training diverged, or it is surplus."""


class _TrialInterrupted(Exception):
    """The trial's process died or was stopped; the trial is retried."""


class SearchWorker:
    """Runs trials of a study until none are left, one per slot at a time.

    Args:
        config: the search.
        on_trial_end: called after each trial that this worker has run.

    Raises:
        UserError: as open_study.
    """

    def __init__(self, config: SearchConfig, on_trial_end: Callable[[optuna.Study, FrozenTrial], None]) -> None:
        self.config, self.on_trial_end = config, on_trial_end
        self.study = open_study(config)
        self._stop = threading.Event()

    def run(self, slots: list[Slot]) -> None:
        """Run trials in these slots until all trials of the study have ended, here or in another worker.

        Raises:
            Exception: the first unexpected error of a slot; the other slots are stopped.
        """
        with ThreadPoolExecutor(len(slots)) as pool:
            pending = {pool.submit(self._worker_loop, slot) for slot in slots}
            try:
                while pending:
                    ended, pending = wait(pending, _POLL_SECONDS)  # without a limit, Ctrl-C has no effect on Windows
                    for future in ended:
                        future.result()
            finally:
                self._stop.set()

    def _worker_loop(self, slot: Slot) -> None:
        number = -1

        def objective(trial: Trial) -> float:
            nonlocal number
            number = trial.number
            return self._run_trial(trial, slot)

        while self._wait_for_trial():
            try:
                self.study.optimize(objective, n_trials=1, catch=_TrialFailed, callbacks=[self._notify_trial_end])
            except _TrialInterrupted:
                trial = self.study.trials[number]
                if self._stop.is_set():
                    self._enqueue_again(trial)
                else:
                    RetryHeartbeatStaleTrialCallback(max_retry=self.config.max_retries)(self.study, trial)
            except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                if not self._was_reassigned(number):
                    raise

    def _enqueue_again(self, trial: FrozenTrial) -> None:
        """Enqueue a trial that was stopped with the search; this does not count as a retry."""
        waiting = optuna.trial.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            system_attrs={"failed_trial": trial.number, "retry_history": [], **trial.system_attrs},
        )
        self.study.add_trial(waiting)

    def _notify_trial_end(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if _SURPLUS_ATTR not in trial.user_attrs:
            self.on_trial_end(study, trial)

    def _wait_for_trial(self) -> bool:
        """Wait until a trial can be started; return False once all have ended or the worker is stopped."""
        while not self._stop.is_set():
            optuna.storages.fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            states = {trial.state for trial in trials}
            if len(latest_attempts(trials)) < self.config.n_trials or TrialState.WAITING in states:
                return True
            if TrialState.RUNNING not in states:
                return False
            self._stop.wait(2 * _POLL_SECONDS)
        return False

    def _was_reassigned(self, number: int) -> bool:
        """Whether another worker retries this trial because this one sent no heartbeat in time."""
        trials = self.study.get_trials(deepcopy=False)
        return any(number in RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials)

    def _run_trial(self, trial: Trial, slot: Slot) -> float:
        """Train with the overrides that the trial suggests.

        Returns:
            Exact match on val, in 0..1.

        Raises:
            _TrialFailed, _TrialInterrupted, optuna.TrialPruned: there is no score.
        """
        trials = self.study.get_trials(deepcopy=False)
        number = original_number(trials[trial.number])
        if number not in list(latest_attempts(trials))[: self.config.n_trials]:
            trial.set_user_attr(_SURPLUS_ATTR, True)
            raise _TrialFailed
        run = Run(Path(self.config.output_dir) / f"trial-{number:04d}")
        overrides = [*self.config.overrides, *suggest_overrides(trial, self.config.space)]
        trial.set_user_attr("run", str(run.path))
        process = workers.start_job(Job(run.path.name, run.path, train_trial, (overrides, run.path)), slot)
        reported_steps: set[float] = set()
        try:
            while process.is_alive():
                process.join(_POLL_SECONDS)
                _report_and_prune(trial, run, reported_steps)
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
        """Fail a trial that fell back on another digit source than earlier ones: their scores do not compare."""
        digits = run.metrics["digits"]
        trial.set_user_attr(_DIGITS_ATTR, digits)
        completed = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = {it.user_attrs[_DIGITS_ATTR] for it in completed if _DIGITS_ATTR in it.user_attrs} - {digits}
        if others:
            reason = f"evaluated on digits={digits}, but earlier trials on digits={', '.join(sorted(others))}"
            (run.path / FAILURE_FILE).write_text(f"{reason}: set overrides=[data.digits=...]\n", encoding="utf-8")
            raise _TrialFailed(reason)


def open_study(config: SearchConfig) -> optuna.Study:
    """Create the study of a search, or load it if it exists.

    Raises:
        UserError: the storage cannot be opened, or the study's trials do not compare with those of this search.
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
    if config.seed is not None:  # a search that goes on draws other trials than those that it has
        seed = config.seed + len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def open_storage(config: SearchConfig) -> RDBStorage:
    """Open the storage of a search, with heartbeats.

    Raises:
        UserError: the storage cannot be opened, or its database driver is not installed.
    """
    if config.storage is None:
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
    url = config.storage or f"sqlite:///{Path(config.output_dir) / 'study.db'}"
    error: Exception | None = None
    for _ in range(_OPEN_ATTEMPTS):  # workers that start together create the tables together, and one of them fails
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
        except SQLAlchemyError as latest:
            error = latest
            time.sleep(_POLL_SECONDS)
    raise UserError(f"storage={url} cannot be opened: {str(error).partition(chr(10))[0]}") from error


def latest_attempts(trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The latest attempt of each trial, by the number of its first attempt, in order; surplus trials are left out."""
    return {original_number(it): it for it in trials if _SURPLUS_ATTR not in it.user_attrs}


def original_number(trial: FrozenTrial) -> int:
    """The number of a trial's first attempt; its own if it is no retry."""
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


def train_trial(overrides: list[str], directory: Path) -> None:
    """Train the run of a trial, or resume it; an error is written to FAILURE_FILE in its directory."""
    from mnist_seq.malloc import tune_malloc
    from mnist_seq.training.fit import fit

    run, new_run = Run(directory), [*overrides, format_override("hydra.run.dir", str(directory))]
    # A trial whose worker seemed dead may still train here.
    with report_errors(), wait_for_run_dir(directory, "output_dir"), isolate_job_failure(directory):
        resumes = run.last_checkpoint.is_file()
        if run.finished or resumes:
            require_same_config(run, compose_training(overrides), new_run, "choose another output_dir=")
        if not run.finished:
            tune_malloc()  # the process is this trial's own
            fit([format_override("resume", str(directory))] if resumes else new_run)


def _report_and_prune(trial: Trial, run: Run, reported_steps: set[float]) -> None:
    """Report the run's new validation scores to the study.

    Args:
        reported_steps: training steps that have been reported; updated in place.

    Raises:
        TrialPruned: the pruner gives the trial up.
    """
    for row in run.logged_metrics:
        if _MONITOR in row and row["step"] not in reported_steps:
            reported_steps.add(row["step"])
            by_rung = isinstance(trial.study.pruner, optuna.pruners.HyperbandPruner)  # its rungs are few validations
            trial.report(row[_MONITOR], len(reported_steps) if by_rung else int(row["step"]))
            if trial.should_prune():
                raise optuna.TrialPruned
