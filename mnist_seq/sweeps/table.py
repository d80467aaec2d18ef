"""What a sweep came to: a table over seeds, and all figures in sweep.csv."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from hydra.types import RunMode

from mnist_seq.atomic import whole
from mnist_seq.command import mistakes_in_a_line
from mnist_seq.command_line import pasted
from mnist_seq.config.law import require, require_known
from mnist_seq.run import FAILURE, Run
from mnist_seq.sweeps.members import Member, members, notices, over_seeds, under
from mnist_seq.sweeps.syntax import require_countable

if TYPE_CHECKING:
    from rich.console import Console

ON_FAILURE = ("continue", "stop")
_IN_TURN = ".BasicLauncher"
_STOPPING = (_IN_TURN, ".DevicesLauncher")
"""Launchers that can stop a sweep at its first failure."""


class SweepTable(Callback):
    """Sums up a multirun: in sweep.csv after every job, as a table when it has ended; exit code 1 where jobs failed.

    Args:
        on_failure: of a job: `continue` with the others, or `stop` the sweep.
    """

    def __init__(self, on_failure: str = "continue") -> None:
        self.on_failure = on_failure

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        with mistakes_in_a_line():
            require_known("hydra.callbacks.table.on_failure", self.on_failure, ON_FAILURE)
            launcher = config.hydra.launcher._target_
            require(
                self.on_failure == "continue" or launcher.endswith(_STOPPING),
                f"hydra.callbacks.table.on_failure=stop is not for {launcher}: choose hydra/launcher=devices or basic",
            )
            if config.hydra.sweeper._target_.endswith(".BasicSweeper"):
                params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
                require_countable([*params, *config.hydra.overrides.task], GlobalHydra.instance().config_loader())

    def on_job_end(self, config: Any, job_return: Any, **kwargs: Any) -> None:
        if config.hydra.mode != RunMode.MULTIRUN:
            return
        directory = Path(config.hydra.sweep.dir)
        if found := members(under(directory)):
            write(found, directory / "sweep.csv")
        in_turn = config.hydra.launcher._target_.endswith(_IN_TURN)  # else the launcher knows, and stops the others
        if in_turn and self.on_failure == "stop" and (Path(config.hydra.runtime.output_dir) / FAILURE).exists():
            stop(directory)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        conclude(Path(config.hydra.sweep.dir))


def conclude(directory: Path) -> None:
    """Tell what the sweep in a directory came to.

    Raises:
        SystemExit: jobs failed; exit code 1.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    failed = failures(directory)
    _tell(directory, console)
    for path, said in failed.items():
        console.print(f"[red]failed:[/] {escape(f'{path.name}: {said}')}", highlight=False, soft_wrap=True)
    if failed:
        again = f"the same command tries them again with {pasted('hydra.sweep.dir', directory)}"
        console.print(again, highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(1)


def stop(directory: Path) -> None:
    """End a sweep of which a job has failed.

    Raises:
        SystemExit: exit code 1.
    """
    print("stopped at the first failure, as hydra.callbacks.table.on_failure=stop asks: the rest was not trained")
    conclude(directory)


def _tell(directory: Path, console: Console) -> None:
    from rich.markup import escape

    from mnist_seq.figures import tables

    runs = under(directory)
    found = members(runs)
    if found:
        write(found, directory / "sweep.csv")
        console.print(tables.sweep(over_seeds(found), escape(f"{directory}, {len(found)} runs")))
        for notice in notices(found):
            console.print(f"[bold red]{escape(notice)}", soft_wrap=True)
        console.print(f"every run: {directory / 'sweep.csv'}", highlight=False, markup=False, soft_wrap=True)
    if unjudged := [run for run in runs if "steps" in (told := Run(run).metrics) and "val" not in told]:
        console.print(f"{len(unjudged)} more runs have no validation (data.pool=full), and are in no table")


def failures(directory: Path) -> dict[Path, str]:
    """Jobs under a directory that failed when they were last run, and why."""
    return {
        path.parent: path.read_text(encoding="utf-8").partition("\n")[0] for path in sorted(directory.rglob(FAILURE))
    }


def write(found: list[Member], path: Path) -> None:
    """A line a run: what sets it apart, its seed, figures, digits, notice and directory."""
    keys = sorted({key for member in found for key in member.apart if key != "data.digits" or member.choices.get(key)})
    with whole(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*keys, "seed", *found[0].figures, "digits", "notice", "run"])
        for member in found:
            apart = [member.apart.get(key, "") for key in keys]
            table.writerow([*apart, member.seed, *member.figures.values(), member.digits, member.notice, member.path])
