"""What a sweep came to: a table over seeds, and all figures in sweep.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.types import RunMode

from mnist_seq.atomic_io import atomic_path
from mnist_seq.cli import report_errors
from mnist_seq.config.override_syntax import shell_override
from mnist_seq.config.sweep_syntax import require_finite_sweep
from mnist_seq.config.validation import check, check_choice
from mnist_seq.run_dir import FAILURE_FILE, Run
from mnist_seq.sweeps.sweep_runs import SweepRun, aggregate_over_seeds, find_runs, load_runs, notices

if TYPE_CHECKING:
    from rich.console import Console

ON_FAILURE_MODES = ("continue", "stop")
_SEQUENTIAL_LAUNCHER = ".BasicLauncher"
_STOPPABLE_LAUNCHERS = (_SEQUENTIAL_LAUNCHER, ".DevicesLauncher")
"""Launchers that can stop a sweep at its first failure."""


class SweepSummary(Callback):
    """Sums up a multirun: in sweep.csv after every job, as a table when it has ended; exit code 1 where jobs failed.

    Args:
        on_failure: of a job: `continue` with the others, or `stop` the sweep.
    """

    def __init__(self, on_failure: str = "continue") -> None:
        self.on_failure = on_failure

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        with report_errors():
            check_choice("hydra.callbacks.table.on_failure", self.on_failure, ON_FAILURE_MODES)
            launcher = config.hydra.launcher._target_
            check(
                self.on_failure == "continue" or launcher.endswith(_STOPPABLE_LAUNCHERS),
                f"hydra.callbacks.table.on_failure=stop is not for {launcher}: choose hydra/launcher=devices or basic",
            )
            if config.hydra.sweeper._target_.endswith(".BasicSweeper"):
                params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
                require_finite_sweep([*params, *config.hydra.overrides.task], GlobalHydra.instance().config_loader())

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        directory = Path(config.hydra.sweep.dir)
        if found := load_runs(find_runs(directory)):
            write_csv(found, directory / "sweep.csv")
        in_turn = config.hydra.launcher._target_.endswith(
            _SEQUENTIAL_LAUNCHER
        )  # else the launcher knows, and stops the others
        if in_turn and self.on_failure == "stop" and (Path(config.hydra.runtime.output_dir) / FAILURE_FILE).exists():
            stop_sweep(directory)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        finish_sweep(Path(config.hydra.sweep.dir))


def finish_sweep(directory: Path) -> None:
    """Tell what the sweep in a directory came to.

    Raises:
        SystemExit: jobs failed; exit code 1.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    failed = failed_jobs(directory)
    _print_summary(directory, console)
    for path, said in failed.items():
        console.print(f"[red]failed:[/] {escape(f'{path.name}: {said}')}", highlight=False, soft_wrap=True)
    if failed:
        again = f"the same command tries them again with {shell_override('hydra.sweep.dir', directory)}"
        console.print(again, highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(1)


def stop_sweep(directory: Path) -> None:
    """End a sweep of which a job has failed.

    Raises:
        SystemExit: exit code 1.
    """
    print("stopped at the first failure, as hydra.callbacks.table.on_failure=stop asks: the rest was not trained")
    finish_sweep(directory)


def _print_summary(directory: Path, console: Console) -> None:
    from rich.markup import escape

    from mnist_seq.reporting import tables

    runs = find_runs(directory)
    found = load_runs(runs)
    if found:
        write_csv(found, directory / "sweep.csv")
        console.print(tables.sweep_table(aggregate_over_seeds(found), escape(f"{directory}, {len(found)} runs")))
        for notice in notices(found):
            console.print(f"[bold red]{escape(notice)}", soft_wrap=True)
        console.print(f"every run: {directory / 'sweep.csv'}", highlight=False, markup=False, soft_wrap=True)
    if unjudged := [run for run in runs if "steps" in (told := Run(run).metrics) and "val" not in told]:
        console.print(f"{len(unjudged)} more runs have no validation (data.pool=full), and are in no table")


def failed_jobs(directory: Path) -> dict[Path, str]:
    """Jobs under a directory that failed when they were last run, and why."""
    return {
        path.parent: path.read_text(encoding="utf-8").partition("\n")[0]
        for path in sorted(directory.rglob(FAILURE_FILE))
    }


def write_csv(runs: list[SweepRun], path: Path) -> None:
    """A line a run: what sets it apart, its seed, figures, digits, notice and directory."""
    keys = sorted(
        {
            key
            for member in runs
            for key in member.distinguishing_settings
            if key != "data.digits" or member.overrides.get(key)
        }
    )
    with atomic_path(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*keys, "seed", *runs[0].metrics, "digits", "notice", "run"])
        for member in runs:
            apart = [member.distinguishing_settings.get(key, "") for key in keys]
            table.writerow([*apart, member.seed, *member.metrics.values(), member.digits, member.notice, member.path])
