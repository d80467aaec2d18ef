"""Progress of a sweep: a live table in a terminal, a line per finished job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mnist_seq.run_dir import FAILURE_FILE
from mnist_seq.sweeps.workers import OUTPUT_FILE, RunningJob

_TAIL_BYTES = 2000
"""Bytes at the end of a job's output in which its last line is looked for."""


class StopOnFailure(Exception):
    """A job failed, and the sweep is to end."""


class ProgressReporter:
    """Prints each finished job, and shows the running jobs in a live table.

    Args:
        num_jobs: jobs in the sweep.
        console: where finished jobs are printed.
        live: the live display; None shows no table.
        stop_on_failure: raise StopOnFailure when a job fails.
    """

    def __init__(self, num_jobs: int, console: Console, live: Live | None, stop_on_failure: bool = False) -> None:
        self.num_jobs, self.console, self.live, self.stop_on_failure = num_jobs, console, live, stop_on_failure
        self.num_completed = self.num_failed = 0

    def on_poll(self, running: Sequence[RunningJob], num_waiting: int) -> None:
        if self.live is not None:
            ended = f"{self.num_completed} done, {self.num_failed} failed"
            self.live.update(Group(_table(running), Text(f"{ended}, {len(running)} running, {num_waiting} waiting")))

    def on_job_end(self, running: RunningJob) -> None:
        job, failure = running.job, running.job.directory / FAILURE_FILE
        code = running.process.exitcode
        if code and not failure.exists():
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            failure.write_text(f"process ended with {reason}: see {job.directory / OUTPUT_FILE}\n", encoding="utf-8")
        if failure.exists():
            self.num_failed += 1
            outcome = "[red]failed[/]: " + escape(failure.read_text(encoding="utf-8").partition("\n")[0])
        else:
            self.num_completed += 1
            outcome = escape(_last_line(job.directory))
        label = escape(f"{self.num_completed + self.num_failed}/{self.num_jobs} {job.name}")
        self.console.print(f"{label}: {outcome}", highlight=False, soft_wrap=True)
        if self.stop_on_failure and self.num_failed:
            raise StopOnFailure


@contextmanager
def report_progress(num_jobs: int, stop_on_failure: bool = False) -> Iterator[ProgressReporter]:
    """Report the progress of `num_jobs` jobs within the context; the arguments are those of ProgressReporter."""
    console = Console()
    display = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else nullcontext()
    with display as live:
        yield ProgressReporter(num_jobs, console, live, stop_on_failure)


def _table(running: Sequence[RunningJob]) -> Table:
    table = Table("job", "slot", "elapsed", "last output", box=None, pad_edge=False)
    for job, slot, _, start_time in running:
        minutes, seconds = divmod(int(time.monotonic() - start_time), 60)
        table.add_row(escape(job.name), str(slot), f"{minutes}:{seconds:02d}", escape(_last_line(job.directory)))
    return table


def _last_line(directory: Path) -> str:
    """The last line of a job's output that is not blank."""
    try:
        with (directory / OUTPUT_FILE).open("rb") as file:
            file.seek(max(0, (directory / OUTPUT_FILE).stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
