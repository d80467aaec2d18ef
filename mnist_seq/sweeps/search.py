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

import mnist_seq
from mnist_seq.command import mistakes_in_a_line, others_go_on
from mnist_seq.config import SearchConfig
from mnist_seq.errors import UserError
from mnist_seq.run import FAILURE, Run
from mnist_seq.sweeps import slots
from mnist_seq.sweeps.settings import require_same
from mnist_seq.sweeps.slots import Job, Slot
from mnist_seq.sweeps.space import require_continuable, suggested

_POLL = 0.5
"""Seconds between looks at a trial."""
_ATTEMPTS = 5
"""To open a storage."""
_SURPLUS = "surplus"
"""Attribute of a trial beyond the number asked for."""
_DIGITS = "digits"
"""Attribute of a trial: whose it was judged on."""
_SCORE = "val/exact_match"
PRUNERS: dict[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "none": lambda spared: optuna.pruners.NopPruner(),
    "median": lambda spared: optuna.pruners.MedianPruner(n_startup_trials=spared),
    "hyperband": lambda spared: optuna.pruners.HyperbandPruner(bootstrap_count=spared),
}


class _Undone(Exception):
    """A trial has no score, and is not tried again: its config is wrong, it diverged, or none is asked for any more."""


class _Broken(Exception):
    """A trial's process died or was stopped, and is to be tried again."""


class Search:
    """A worker: it takes trials of a study as long as some are left, one in each slot at a time.

    Args:
        tell: hears of each trial that ended here.
    """

    def __init__(self, config: SearchConfig, tell: Callable[[optuna.Study, FrozenTrial], None]) -> None:
        self.config, self.tell = config, tell
        self.study = open_study(config)
        self._stop = threading.Event()
        self._problems: list[Exception] = []

    def run(self, free: list[Slot]) -> None:
        """Until every trial that is asked for has ended, with this worker or another."""
        threads = [threading.Thread(target=self._serve, args=(slot,)) for slot in free]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                time.sleep(_POLL)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._problems:
            raise self._problems[0]

    def _serve(self, slot: Slot) -> None:
        again = RetryHeartbeatStaleTrialCallback(max_retry=self.config.retries)
        number = -1

        def objective(trial: Trial) -> float:
            nonlocal number
            number = trial.number
            return self._try(trial, slot)

        try:
            while self._due():
                try:
                    self.study.optimize(objective, n_trials=1, catch=_Undone, callbacks=[self._ended])
                except _Broken:
                    again(self.study, self.study.trials[number])
                except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                    if not self._taken_over(number):
                        raise
        except Exception as problem:
            self._problems.append(problem)
            self._stop.set()

    def _ended(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if _SURPLUS not in trial.user_attrs:
            self.tell(study, trial)

    def _due(self) -> bool:
        """Wait until there is a trial to take; False when there never will be."""
        while not self._stop.is_set():
            optuna.storages.fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            if len(asked(trials)) < self.config.trials or any(it.state == TrialState.WAITING for it in trials):
                return True
            if not any(it.state == TrialState.RUNNING for it in trials):
                return False
            self._stop.wait(2 * _POLL)
        return False

    def _taken_over(self, number: int) -> bool:
        """Whether this worker was silent for so long that a trial of its was taken for dead, and given to another."""
        trials = self.study.get_trials(deepcopy=False)
        return any(number in RetryHeartbeatStaleTrialCallback.retry_history(trial) for trial in trials)

    def _try(self, trial: Trial, slot: Slot) -> float:
        """Train as a trial suggests; exact match on val."""
        trials = self.study.get_trials(deepcopy=False)
        number = original(trials[trial.number])
        if number not in list(asked(trials))[: self.config.trials]:
            trial.set_user_attr(_SURPLUS, True)
            raise _Undone
        run = Run(Path(self.config.to) / f"trial-{number:04d}")
        overrides = [*self.config.overrides, *suggested(trial, self.config.space)]
        trial.set_user_attr("run", str(run.path))
        process = slots.start(Job(run.path.name, run.path, train, (overrides, run.path)), slot)
        reported: set[float] = set()
        try:
            while process.is_alive():
                process.join(_POLL)
                _report(trial, run, reported)
                if self._stop.is_set():
                    raise _Broken
        finally:
            process.terminate()
            process.join()
        failure = run.path / FAILURE
        if failure.exists():
            raise _Undone(failure.read_text(encoding="utf-8").partition("\n")[0])
        if process.exitcode:
            raise _Broken
        self._require_same_digits(trial, run)
        return float(run.metrics["val"]["exact_match"])

    def _require_same_digits(self, trial: Trial, run: Run) -> None:
        """Give no score to a trial that fell back on other digits than those before it: the study would rank both."""
        digits = run.metrics["digits"]
        trial.set_user_attr(_DIGITS, digits)
        before = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = {it.user_attrs[_DIGITS] for it in before if _DIGITS in it.user_attrs} - {digits}
        if others:
            told = f"it was judged on digits={digits}, trials before it on digits={', '.join(sorted(others))}"
            (run.path / FAILURE).write_text(f"{told}: name one in overrides=[data.digits=...]\n", encoding="utf-8")
            raise _Undone(told)


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
        pruner=PRUNERS[config.pruner](config.spared),
        load_if_exists=True,
    )
    require_continuable(study, config)
    return study


def open_storage(config: SearchConfig) -> RDBStorage:
    """The storage of a config, in which workers give signs of life."""
    if config.storage is None:
        Path(config.to).mkdir(parents=True, exist_ok=True)
    url = config.storage or f"sqlite:///{Path(config.to) / 'study.db'}"
    problem: Exception | None = None
    for _ in range(_ATTEMPTS):  # workers that begin together make the tables together, and one of them fails
        try:
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
                heartbeat_interval=max(1, config.grace // 4),
                grace_period=config.grace,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=config.retries),
            )
        except ImportError as missing:
            raise UserError(f"storage={url} needs a package that is not installed: {missing}") from missing
        except SQLAlchemyError as now:
            problem = now
            time.sleep(_POLL)
    raise UserError(f"storage={url} cannot be opened: {str(problem).partition(chr(10))[0]}") from problem


def asked(trials: list[FrozenTrial]) -> dict[int, FrozenTrial]:
    """The last try of each trial that was not given back, by the number of its first, in order."""
    return {original(it): it for it in trials if _SURPLUS not in it.user_attrs}


def original(trial: FrozenTrial) -> int:
    """The number of the trial that this one tries again, or its own."""
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


def train(overrides: list[str], directory: Path) -> None:
    """A trial's run, or the rest of one that broke off; a mistake in it is left in its directory."""
    from mnist_seq.learn import machine

    run, begin = Run(directory), [*overrides, f"hydra.run.dir={directory}"]
    with mistakes_in_a_line(), others_go_on(directory):
        if run.finished or run.last.is_file():
            require_same(run, mnist_seq.compose(*overrides), begin, "choose another to=")
        if not run.finished:
            machine.keep_memory()  # the process is this trial's own
            mnist_seq.fit(*([f"resume={directory}"] if run.last.is_file() else begin))


def _report(trial: Trial, run: Run, reported: set[float]) -> None:
    """Tell the study how a run validated since, and give up where others did better.

    Raises:
        TrialPruned: they did.
    """
    for row in run.rows:
        if _SCORE in row and row["step"] not in reported:
            reported.add(row["step"])
            trial.report(row[_SCORE], int(row["step"]))
            if trial.should_prune():
                raise optuna.TrialPruned
