"""The run directory and its files: all that is needed to evaluate, resume, export or serve a run. It can be moved."""

from __future__ import annotations

import csv
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnist_seq.atomic_io import atomic_write_text, make_dir, write_errors
from mnist_seq.config import CustomConfig, TrainConfig
from mnist_seq.config.migrations import SCHEMA_VERSION, migrate_config, migrate_metrics
from mnist_seq.config.override_syntax import shell_override
from mnist_seq.config.serialization import from_dict, to_dict
from mnist_seq.config.validation import check
from mnist_seq.errors import NotFoundError, UserError

FAILURE_FILE = "failed.txt"
"""In the directory of a failed job of a sweep: the error and its traceback."""
FINALIZED_STEPS = "finalized_steps"
"""Metric: see `Run.finalized_steps`; runs of earlier versions lack it."""


class Run:
    """A training run on disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.metrics_csv = self.path / "metrics.csv"
        self.log = self.path / "run.log"
        self.checkpoints = self.path / "checkpoints"
        self.last_checkpoint, self.best_checkpoint = self.checkpoints / "last.ckpt", self.checkpoints / "best.ckpt"
        self.weights = self.path / "weights.safetensors"
        self.plots = self.path / "plots"
        self.report = self.path / "report.html"
        self._config, self._metrics = self.path / "config.yaml", self.path / "metrics.json"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def create(self, config: TrainConfig, overrides: list[str] | None = None) -> None:
        """Create the directory of a new run, and write its config and overrides.

        Raises:
            CannotWriteError: the directory cannot be written.
            UserError: it holds a run that has saved a checkpoint or weights.
        """
        if self.last_checkpoint.exists() or self.weights.exists():
            resume = shell_override("resume", self.path)
            raise UserError(
                f"{self.path} already holds a run: add {resume} to resume it, or choose another hydra.run.dir"
            )
        for folder in (self.checkpoints, self.plots):
            make_dir("hydra.run.dir", folder)
        with write_errors(self._metrics):
            self._metrics.unlink(missing_ok=True)
        self.write_config(config)
        self.update_metrics(id=secrets.token_hex(4), overrides=overrides or [], seed=config.seed)

    def remove_partial_checkpoints(self) -> None:
        """Remove checkpoints that a killed process left half-written; only the process that trains here may."""
        for path in self.checkpoints.glob(f".*{self.last_checkpoint.suffix}.*"):
            path.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run.

        Raises:
            NotFoundError: no such directory, or no run in it.
        """
        run = cls(path)
        if not run.path.is_dir():
            why = "is a file" if run.path.exists() else "does not exist"
            raise NotFoundError(f"{run.path} {why}: give a run directory, such as outputs/<date>/<time>")
        if not run.exists:
            raise NotFoundError(f"{run.path} is not a run directory: it holds no config.yaml")
        return run

    @property
    def exists(self) -> bool:
        """Whether the directory holds a run."""
        return self._config.is_file()

    @property
    def finished(self) -> bool:
        """Whether training finished, and its final weights were evaluated and saved."""
        return self.weights.is_file() and self.finalized_steps == self.metrics.get("steps")

    @property
    def finalized_steps(self) -> int:
        """Training steps of the weights that are saved with their evaluation, 0 if there are none."""
        return self.metrics.get(FINALIZED_STEPS, self.metrics.get("steps", 0))

    @property
    def config(self) -> TrainConfig:
        """The run's config.

        Raises:
            UserError: the file is damaged, or a later version wrote it.
        """
        import yaml

        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
            values = yaml.load(self._config.read_text(encoding="utf-8"), loader)
            return from_dict(TrainConfig, migrate_config(values, self._config))
        except (yaml.YAMLError, TypeError, AttributeError) as error:
            raise UserError(f"{self._config} is not a run's config: {error}") from error

    @property
    def config_without_seed(self) -> TrainConfig:
        """The config without seed, logger, outputs and threads: equal for the seeds of one recipe."""
        config = replace(self.config, seed=0, logger=None, report="auto", test=False)
        return replace(config, trainer=replace(config.trainer, threads=None))

    @property
    def config_text(self) -> str:
        """The text of config.yaml."""
        return self._config.read_text(encoding="utf-8")

    def write_config(self, config: TrainConfig) -> None:
        """Write config.yaml."""
        import yaml

        values = {"schema_version": SCHEMA_VERSION} | to_dict(config)
        atomic_write_text(self._config, yaml.safe_dump(values, sort_keys=False))

    @property
    def metrics(self) -> dict[str, Any]:
        """The contents of metrics.json: metrics, throughput and provenance.

        Raises:
            UserError: the file is damaged.
        """
        if not self._metrics.is_file():
            return {}
        try:
            metrics = json.loads(self._metrics.read_text(encoding="utf-8"))
            check(isinstance(metrics, dict), "no object")
        except ValueError as error:
            raise UserError(f"{self._metrics} is damaged: restore it, or train anew ({error})") from error
        return migrate_metrics(metrics, lambda: isinstance(self.config.model, CustomConfig))

    @property
    def logged_metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv."""
        return read_metrics_csv(self.metrics_csv) if self.metrics_csv.exists() else []

    @property
    def val_curve(self) -> list[tuple[int, float]]:
        """Training scenes seen -> exact match on val, 0..1, as pairs; empty until the run has finished."""
        metrics = self.metrics
        if not metrics.get("steps"):
            return []
        scenes, key = metrics["scenes"] // metrics["steps"], "val/exact_match"
        return [(int(row["step"]) * scenes, round(row[key], 5)) for row in self.logged_metrics if key in row]

    def update_metrics(self, **metrics: Any) -> None:
        """Add values to metrics.json, or replace those of the same key."""
        atomic_write_text(self._metrics, json.dumps(self.metrics | metrics, indent=2) + "\n")

    def remove_metric(self, key: str) -> None:
        """Remove a value from metrics.json that is no longer valid."""
        metrics = self.metrics
        if metrics.pop(key, None) is not None:
            atomic_write_text(self._metrics, json.dumps(metrics, indent=2) + "\n")


def read_metrics_csv(path: Path) -> list[dict[str, float]]:
    """Read the rows of a metrics.csv, without empty cells; a line cut off by a kill is skipped."""
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                values = {name: float(value) for name, value in row.items() if value}
            except (TypeError, ValueError):
                continue
            if None not in row.values() and "step" in values:
                rows.append(values | {"step": int(values["step"])})
    return rows
