"""metrics.csv: the logger that every run has."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch.loggers import Logger

from mnist_seq.atomic_io import atomic_path, write_errors
from mnist_seq.run_dir import read_metrics_csv


class ResumableCSVLogger(Logger):
    """Writes a row to metrics.csv each time metrics are logged, immediately, so that a kill loses none.

    Lightning's CSVLogger deletes the files of an existing directory and cannot resume at a step.

    Args:
        path: the table.
        resume_step: keep the rows of an existing table up to this step, and append; None starts a new table.
    """

    name, version = "csv", ""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.columns = ["step"]
        if resume_step is not None and path.exists():
            self._rewrite([row for row in read_metrics_csv(path) if row["step"] <= resume_step])
        else:
            path.unlink(missing_ok=True)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds the hyperparameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": step or 0} | {name: value for name, value in metrics.items() if name != "epoch"}
        if self.path.exists() and row.keys() <= set(self.columns):
            with write_errors(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                self._writer(file).writerow(row)
        else:
            lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
            self._rewrite([*csv.DictReader(lines), row])

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        """Write the table anew, with a column for every name."""
        self.columns = [*dict.fromkeys([*self.columns, *(name for row in rows for name in row)])]
        with atomic_path(self.path) as temp_path, temp_path.open("w", newline="", encoding="utf-8") as file:
            self._writer(file).writeheader()
            self._writer(file).writerows(rows)

    def _writer(self, file: TextIO) -> csv.DictWriter[str]:
        return csv.DictWriter(file, self.columns, lineterminator="\n")
