"""Summary of a multirun: a table of means over seeds, and sweep.csv with a row per run."""

from __future__ import annotations

import csv
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from rich.console import Console
from rich.markup import escape

from mnist_seq.atomic_io import atomic_path
from mnist_seq.cli import report_errors
from mnist_seq.config.override_syntax import shell_override
from mnist_seq.config.sweep_syntax import require_finite_sweep
from mnist_seq.config.validation import check, check_choice
from mnist_seq.errors import UserError, one_line
from mnist_seq.run_dir import FAILURE_FILE
from mnist_seq.sweeps.sweep_runs import SweepRun, aggregate_over_seeds, find_runs, load_runs, notices

ON_FAILURE_MODES = ("continue", "stop")
SUMMARY_FILE = "sweep.csv"
_SECONDS_PER_RUN = 0.1
"""A job updates sweep.csv if it is older than this times the number of runs in it. Reading a run takes about 5 ms:
updates thus take at most a twentieth of the time of a sweep, however many jobs it has."""
_SEQUENTIAL_LAUNCHER = ".BasicLauncher"
_STOPPABLE_LAUNCHERS = (_SEQUENTIAL_LAUNCHER, ".DevicesLauncher")
"""Launchers that can end a sweep at its first failed job."""


class SweepSummary(Callback):
    """Hydra callback: keep sweep.csv up to date, print a table at the end, exit with 1 if jobs failed.

    Args:
        on_failure: what follows a failed job: `continue` with the others, or `stop` the sweep.
    """

    def __init__(self, on_failure: str = "continue") -> None:
        self.on_failure = on_failure

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        with report_errors():
            check_choice("hydra.callbacks.table.on_failure", self.on_failure, ON_FAILURE_MODES)
            launcher = config.hydra.launcher._target_
            check(
                self.on_failure == "continue" or launcher.endswith(_STOPPABLE_LAUNCHERS),
                f"hydra.callbacks.table.on_failure=stop is not supported by {launcher}: "
                "choose hydra/launcher=devices or basic",
            )
            if config.hydra.sweeper._target_.endswith(".BasicSweeper"):
                params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
                require_finite_sweep([*params, *config.hydra.overrides.task], GlobalHydra.instance().config_loader())

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        directory = Path(config.hydra.runtime.cwd, config.hydra.sweep.dir)  # hydra.job.chdir may have left it
        # The devices launcher stops by itself: only it can end the jobs that run beside the failed one.
        sequential = config.hydra.launcher._target_.endswith(_SEQUENTIAL_LAUNCHER)
        failed = (Path(config.hydra.runtime.output_dir) / FAILURE_FILE).exists()
        if sequential and failed and self.on_failure == "stop":
            stop_sweep(directory)
        summary = directory / SUMMARY_FILE
        if _is_recent(summary):
            return
        try:
            if runs := load_runs(find_runs(directory)):
                write_csv(runs, summary)
        except UserError as error:  # the other jobs need no summary
            print(f"mnist_seq: {summary} is not up to date: {one_line(error)}", file=sys.stderr)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        finish_sweep(Path(config.hydra.sweep.dir))


def finish_sweep(directory: Path) -> None:
    """Print the summary of a sweep and its failed jobs.

    Raises:
        SystemExit: exit code 1, if jobs failed or there is no summary.
    """
    console = Console(highlight=False, soft_wrap=True)
    failures, has_summary = failed_jobs(directory), False
    try:
        _print_summary(directory, console)
        has_summary = True
    except UserError as error:
        print(f"mnist_seq: no summary: {one_line(error)}", file=sys.stderr)
    except Exception:  # Hydra would swallow it, and with it what follows
        traceback.print_exc()
    for path, reason in failures.items():
        console.print(f"[red]failed:[/] {escape(f'{path.name}: {reason}')}")
    if failures:
        override = shell_override("hydra.sweep.dir", directory)
        console.print(
            f"rerun the same command with {override} to retry the failed jobs, or remove their folders", markup=False
        )
    if failures or not has_summary:
        raise SystemExit(1)


def stop_sweep(directory: Path) -> None:
    """End a sweep after its first failed job.

    Raises:
        SystemExit: exit code 1.
    """
    print("stopped at the first failed job (hydra.callbacks.table.on_failure=stop); the remaining jobs were not run")
    finish_sweep(directory)
    raise SystemExit(1)


def failed_jobs(directory: Path) -> dict[Path, str]:
    """Directories of the jobs whose last attempt failed, each with the reason."""
    return {
        path.parent: path.read_text(encoding="utf-8").partition("\n")[0]
        for path in sorted(directory.rglob(FAILURE_FILE))
    }


def _is_recent(path: Path) -> bool:
    """Whether sweep.csv is too recent to be updated. It is not if its time lies in the future: clocks may differ."""
    if not path.exists():
        return False
    num_runs = path.read_bytes().count(b"\n") - 1
    return 0 <= time.time() - path.stat().st_mtime < _SECONDS_PER_RUN * num_runs


def write_csv(runs: list[SweepRun], path: Path) -> None:
    """Write a row per run: its distinguishing settings, seed, metrics, digit source, notice and directory."""
    keys = sorted({key for run in runs for key in run.distinguishing_settings})
    # The digit source has a column of its own, unless it was swept.
    keys = [key for key in keys if key != "data.digits" or any(key in run.overrides for run in runs)]
    with atomic_path(path) as temp_path, temp_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*keys, "seed", *runs[0].metrics, "digits", "notice", "run"])
        for run in runs:
            settings = [run.distinguishing_settings.get(key, "") for key in keys]
            writer.writerow([*settings, run.seed, *run.metrics.values(), run.digits, run.notice, run.path])


def _print_summary(directory: Path, console: Console) -> None:
    from mnist_seq.reporting import tables

    paths = find_runs(directory)
    runs = load_runs(paths)
    if runs:
        write_csv(runs, directory / SUMMARY_FILE)
        table = tables.sweep_table(aggregate_over_seeds(runs), escape(f"{directory}, {len(runs)} runs"))
        console.print(table, soft_wrap=False)
        for notice in notices(runs):
            console.print(f"[bold red]{escape(notice)}")
        console.print(f"all runs: {directory / SUMMARY_FILE}", markup=False)
    if unlisted := len(paths) - len(runs):
        console.print(f"{unlisted} more runs are not listed: they have no val split (data.pool=full) or did not finish")
