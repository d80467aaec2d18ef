"""How a sweep goes, for the person who waits: a live table in a terminal, a line for each job elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mnist_seq.run_dir import FAILURE_FILE
from mnist_seq.sweeps.workers import OUTPUT_FILE, RunningJob

_TAIL_BYTES = 2000
"""Bytes of a job's output in which its last line is looked for."""


class StopOnFailure(Exception):
    """A job failed, and the others are not to go on."""


class ProgressReporter:
    """What was done, what failed, what runs.

    Args:
        stops: raise FirstFailure where a job fails.
    """

    def __init__(self, jobs: int, console: Console, live: Live | None, stops: bool = False) -> None:
        self.num_jobs, self.console, self.live, self.stop_on_failure = jobs, console, live, stops
        self.num_completed = self.num_failed = 0

    def on_poll(self, running: Sequence[RunningJob], waiting: int) -> None:
        if self.live is not None:
            self.live.update(Group(self._table(running), Text(self._status_line(waiting, len(running)))))

    def on_job_end(self, running: RunningJob) -> None:
        job, failure = running.job, running.job.directory / FAILURE_FILE
        code = running.process.exitcode
        if code and not failure.exists():
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            failure.write_text(
                f"its process ended with {reason}: see {job.directory / OUTPUT_FILE}\n", encoding="utf-8"
            )
        if failure.exists():
            self.num_failed += 1
            said = "[red]failed[/]: " + escape(failure.read_text(encoding="utf-8").partition("\n")[0])
        else:
            self.num_completed += 1
            said = escape(_last_line(job.directory))
        which = escape(f"{self.num_completed + self.num_failed}/{self.num_jobs} {job.name}")
        self.console.print(f"{which}: {said}", highlight=False, soft_wrap=True)
        if self.stop_on_failure and self.num_failed:
            raise StopOnFailure

    def _table(self, running: Sequence[RunningJob]) -> Table:
        table = Table("job", "on", "for", "last said", box=None, pad_edge=False)
        for each in running:
            passed = int(time.monotonic() - each.start_time)
            row = (
                escape(each.job.name),
                str(each.slot),
                f"{passed // 60}:{passed % 60:02d}",
                escape(_last_line(each.job.directory)),
            )
            table.add_row(*row)
        return table

    def _status_line(self, waiting: int, running: int) -> str:
        return f"{self.num_completed} done, {self.num_failed} failed, {running} running, {waiting} waiting"


@contextmanager
def report_progress(num_jobs: int, stop_on_failure: bool = False) -> Iterator[ProgressReporter]:
    """Report on so many jobs, within; `stops` as for Watch."""
    console = Console()
    if not console.is_terminal:
        yield ProgressReporter(num_jobs, console, None, stop_on_failure)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield ProgressReporter(num_jobs, console, live, stop_on_failure)


def _last_line(directory: Path) -> str:
    try:
        with (directory / OUTPUT_FILE).open("rb") as file:
            file.seek(max(0, (directory / OUTPUT_FILE).stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
