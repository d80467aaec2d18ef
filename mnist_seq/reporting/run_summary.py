"""The summary that a finished run prints."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from mnist_seq.config.override_syntax import format_command
from mnist_seq.reporting import tables
from mnist_seq.run_dir import Run


def print_run_summary(run: Run, brief: bool = False) -> None:
    """Print the metrics, where the results are, and the next command.

    Args:
        run: a finished run.
        brief: print one line, as for a job of a sweep.
    """
    metrics, console = run.metrics, Console(highlight=False, soft_wrap=True)
    if not brief and "val" in metrics:
        title = escape(f"{run.path}, digits: {metrics['digits']}")
        console.print(tables.metrics_table("val", metrics["val"], title))
    console.print(
        f"{metrics['parameters']:,} parameters, {metrics['steps']:,} steps, "
        f"{metrics['scenes_per_second']:,.0f} scenes/s, {metrics['seconds']:,.0f} s on {metrics['device']}"
    )
    if brief:
        return
    console.print(f"run directory: {run.path}", markup=False)
    if run.report.is_file():
        console.print(f"report: {run.report}", markup=False)
    if "test" not in metrics:
        console.print(f"to evaluate on test: {format_command('evaluate', run=run.path, split='test')}", markup=False)
