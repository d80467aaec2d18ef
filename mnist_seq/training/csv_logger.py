"""metrics.csv: the logger that every run has."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

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

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        if resume_step is not None and path.exists():
            rows = [row for row in read_metrics_csv(path) if row["step"] <= resume_step]
            self.columns = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
            self._write_rows([{name: f"{value!r}" for name, value in row.items()} for row in rows])
        else:
            path.unlink(missing_ok=True)

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds the hyperparameters."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": str(step or 0)} | {name: f"{value!r}" for name, value in metrics.items() if name != "epoch"}
        new_columns = [name for name in row if name != "step" and name not in self.columns]
        if new_columns or not self.path.exists():
            rows = self._read_rows() if self.path.exists() else []
            self.columns += new_columns
            self._write_rows([*rows, row])
        else:
            with write_errors(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._to_csv([row]))

    def _read_rows(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write_rows(self, rows: list[dict[str, str]]) -> None:
        with atomic_path(self.path) as temp_path:
            header = {name: name for name in ["step", *self.columns]}
            temp_path.write_text(self._to_csv([header, *rows]), encoding="utf-8")

    def _to_csv(self, rows: list[dict[str, str]]) -> str:
        buffer = io.StringIO()
        csv.DictWriter(buffer, ["step", *self.columns], restval="", lineterminator="\n").writerows(rows)
        return buffer.getvalue()
