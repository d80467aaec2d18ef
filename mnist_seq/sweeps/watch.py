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

from mnist_seq.run import FAILURE
from mnist_seq.sweeps.slots import OUTPUT, Running

_TAIL = 2000
"""Bytes of a job's output in which its last line is looked for."""


class FirstFailure(Exception):
    """A job failed, and the others are not to go on."""


class Watch:
    """What was done, what failed, what runs.

    Args:
        stops: raise FirstFailure where a job fails.
    """

    def __init__(self, jobs: int, console: Console, live: Live | None, stops: bool = False) -> None:
        self.jobs, self.console, self.live, self.stops = jobs, console, live, stops
        self.done = self.failed = 0

    def look(self, running: Sequence[Running], waiting: int) -> None:
        if self.live is not None:
            self.live.update(Group(self._table(running), Text(self._counts(waiting, len(running)))))

    def ended(self, running: Running) -> None:
        job, failure = running.job, running.job.directory / FAILURE
        code = running.process.exitcode
        if code and not failure.exists():
            reason = f"signal {-code}" if code < 0 else f"exit code {code}"
            failure.write_text(f"its process ended with {reason}: see {job.directory / OUTPUT}\n", encoding="utf-8")
        if failure.exists():
            self.failed += 1
            said = "[red]failed[/]: " + escape(failure.read_text(encoding="utf-8").partition("\n")[0])
        else:
            self.done += 1
            said = escape(_last_line(job.directory))
        which = escape(f"{self.done + self.failed}/{self.jobs} {job.name}")
        self.console.print(f"{which}: {said}", highlight=False, soft_wrap=True)
        if self.stops and self.failed:
            raise FirstFailure

    def _table(self, running: Sequence[Running]) -> Table:
        table = Table("job", "on", "for", "last said", box=None, pad_edge=False)
        for each in running:
            passed = int(time.monotonic() - each.since)
            row = (
                escape(each.job.name),
                str(each.slot),
                f"{passed // 60}:{passed % 60:02d}",
                escape(_last_line(each.job.directory)),
            )
            table.add_row(*row)
        return table

    def _counts(self, waiting: int, running: int) -> str:
        return f"{self.done} done, {self.failed} failed, {running} running, {waiting} waiting"


@contextmanager
def watched(jobs: int, stops: bool = False) -> Iterator[Watch]:
    """Report on so many jobs, within; `stops` as for Watch."""
    console = Console()
    if not console.is_terminal:
        yield Watch(jobs, console, None, stops)
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:
        yield Watch(jobs, console, live, stops)


def _last_line(directory: Path) -> str:
    try:
        with (directory / OUTPUT).open("rb") as file:
            file.seek(max(0, (directory / OUTPUT).stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
