"""The run directory: what lies where. It is all that is needed to evaluate, resume or use a run, and can be moved."""

from __future__ import annotations

import csv
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from mnist_seq.atomic_io import atomic_write_text
from mnist_seq.config import CustomConfig, TrainConfig
from mnist_seq.config.migrations import SCHEMA_VERSION, migrate_config, migrate_metrics
from mnist_seq.config.override_syntax import shell_override
from mnist_seq.config.serialization import from_dict, to_dict
from mnist_seq.errors import CannotWriteError, NotFoundError, UserError

FAILURE_FILE = "failed.txt"
"""In the directory of a sweep's job that failed: why, and the traceback."""


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
        """Make the directory of a new run, find it writable, and write its config and what was asked for.

        Raises:
            OSError: the directory cannot be written.
            ValueError: there is a run in it already; one that never saved anything does not count.
        """
        if self.last_checkpoint.exists() or self.weights.exists():
            go_on = shell_override("resume", self.path)
            raise UserError(f"{self.path} already holds a run: {go_on}, or choose another hydra.run.dir")
        try:
            for folder in (self.checkpoints, self.plots):
                folder.mkdir(parents=True, exist_ok=True)
            self._metrics.unlink(missing_ok=True)
            self.write_config(config)
        except CannotWriteError:
            raise
        except OSError as problem:
            raise CannotWriteError(
                f"{self.path} cannot be written ({problem.strerror}): choose another hydra.run.dir"
            ) from problem
        self.update_metrics(id=secrets.token_hex(4), overrides=overrides or [], seed=config.seed)

    def remove_partial_checkpoints(self) -> None:
        """Remove what a kill left of checkpoints that were being written; for the process that trains here alone."""
        for half in self.checkpoints.glob(f".*{self.last_checkpoint.suffix}.*"):
            half.unlink(missing_ok=True)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """A run that is there.

        Raises:
            FileNotFoundError: no such directory, or no run in it.
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
        """Whether a run has begun here."""
        return self._config.is_file()

    @property
    def finished(self) -> bool:
        """Whether training ended and its weights were judged and written."""
        return self.weights.is_file() and "steps" in self.metrics

    @property
    def config(self) -> TrainConfig:
        """What the run was asked to do."""
        import yaml

        try:
            values = yaml.safe_load(self._config.read_text(encoding="utf-8"))
            return from_dict(TrainConfig, migrate_config(values, self._config))
        except (yaml.YAMLError, TypeError, AttributeError) as problem:
            raise UserError(f"{self._config} is not a run's config: {problem}") from problem

    @property
    def config_without_seed(self) -> TrainConfig:
        """What it shares with runs that differ in their seed alone."""
        return replace(self.config, seed=0, logger=None, report="auto", test=False)

    @property
    def config_text(self) -> str:
        """The same as it is written."""
        return self._config.read_text(encoding="utf-8")

    def write_config(self, config: TrainConfig) -> None:
        import yaml

        atomic_write_text(
            self._config, yaml.safe_dump({"schema_version": SCHEMA_VERSION} | to_dict(config), sort_keys=False)
        )

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures and provenance so far."""
        if not self._metrics.is_file():
            return {}
        return migrate_metrics(
            json.loads(self._metrics.read_text(encoding="utf-8")), lambda: isinstance(self.config.model, CustomConfig)
        )

    @property
    def logged_metrics(self) -> list[dict[str, float]]:
        """What was logged on the way."""
        return read_metrics_csv(self.metrics_csv) if self.metrics_csv.exists() else []

    @property
    def val_curve(self) -> list[tuple[int, float]]:
        """After so many scenes of training, the share of validation scenes that was read right; none until it ended."""
        metrics = self.metrics
        if not metrics.get("steps"):
            return []
        scenes, key = metrics["scenes"] // metrics["steps"], "val/exact_match"
        return [(int(row["step"]) * scenes, round(row[key], 5)) for row in self.logged_metrics if key in row]

    def update_metrics(self, **metrics: Any) -> None:
        """Add facts to metrics.json, in place of older ones of the same name."""
        atomic_write_text(self._metrics, json.dumps(self.metrics | metrics, indent=2) + "\n")

    def remove_metric(self, key: str) -> None:
        """Remove a fact that holds no more."""
        facts = self.metrics
        if facts.pop(key, None) is not None:
            atomic_write_text(self._metrics, json.dumps(facts, indent=2) + "\n")


def read_metrics_csv(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, each with what was logged then; a line cut off by a kill is left out."""
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
