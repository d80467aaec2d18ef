"""Hyperparameter search on one or more machines: `python -m mnist_seq.search search=grid_small n_trials=40`."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_seq import cli
from mnist_seq.config import SearchConfig
from mnist_seq.config.override_syntax import format_command

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console


def main() -> None:
    cli.run_command("search", _job)


def _job(config: SearchConfig, run_dir: Path) -> None:
    import optuna
    from rich.console import Console

    from mnist_seq.sweeps import workers
    from mnist_seq.sweeps.search import SearchWorker
    from mnist_seq.sweeps.search_space import require_valid_space

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats, since 2021
    console = Console(highlight=False, soft_wrap=True)
    require_valid_space(config)
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))
    worker = SearchWorker(config, lambda study, trial: console.print(_format_trial(study, trial), markup=False))
    console.print(f"{config.study}: {config.n_trials} trials, runs in {config.output_dir}", markup=False)
    try:
        worker.run(workers.allocate_slots(config.launcher))
    except KeyboardInterrupt:
        cli.exit_with_message("interrupted: rerun the same command to resume", 128 + signal.SIGINT)
    _print_results(worker.study, config, console)


def _format_trial(study: Study, trial: FrozenTrial) -> str:
    """One line: number, score or state, and parameters of a trial that ended."""
    score = f"{trial.value:.2%}" if trial.state.name == "COMPLETE" else trial.state.name.lower()
    values = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in trial.params.items()}
    return f"trial {trial.number}: {score}  " + " ".join(f"{key}={value}" for key, value in values.items())


def _print_results(study: Study, config: SearchConfig, console: Console) -> None:
    """Print the best trials, the plots, the next command and the failed trials.

    Raises:
        SystemExit: exit code 1, if trials failed.
    """
    from rich.markup import escape

    from mnist_seq.reporting import study_plots, tables
    from mnist_seq.run_dir import Run
    from mnist_seq.sweeps.search import latest_attempts

    trials = latest_attempts(study.trials).values()
    best, pruned, failed = ([it for it in trials if it.state.name == state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    best.sort(key=lambda it: -(it.value or 0))
    title = f"{config.study}: {len(best)} complete, {len(pruned)} pruned, {len(failed)} failed"
    console.print(tables.trials_table([(it.number, it.value or 0, it.params) for it in best[:10]], escape(title)))
    if best:
        best_run = best[0].user_attrs["run"]
        if notice := Run(best_run).metrics.get("notice"):
            console.print(f"[bold red]{escape(notice)}")
        for path in study_plots.write_study_plots(study, Path(config.output_dir)):
            console.print(f"plot: {path}", markup=False)
        console.print(f"next: {format_command('evaluate', run=best_run, split='test')}", markup=False)
    for it in failed:
        console.print(f"[red]failed:[/] trial {it.number}, see {escape(str(it.user_attrs.get('run')))}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
