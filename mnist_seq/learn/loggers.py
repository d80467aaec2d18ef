"""Where figures go: a CSV table always, Weights & Biases and others where asked for."""

from __future__ import annotations

import csv
import io
import netrc
import os
import shlex
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import lightning as L
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from mnist_seq.atomic import whole, writing
from mnist_seq.config import TrainConfig
from mnist_seq.learn.trainer import targets
from mnist_seq.plain import plain
from mnist_seq.run import Run, read_table
from mnist_seq.use import weights

TENSORBOARD = "lightning.pytorch.loggers.TensorBoardLogger"


def logs_at(trainer: L.Trainer, step: int) -> bool:
    """Whether Lightning hands the figures of this step, counted from 1, to the loggers; it does so of the last one."""
    interval = int(getattr(trainer, "log_every_n_steps", 0))
    return interval > 0 and (step % interval == 0 or step == trainer.max_steps)


class MetricsTable(Logger):
    """metrics.csv: a row each time something is logged, on disk at once, so that a kill loses none.

    Args:
        resume_at: keep the rows up to this step of a table that is there, and go on after them.
    """

    def __init__(self, path: Path, resume_at: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        if resume_at is not None and path.exists():
            kept = [row for row in read_table(path) if row["step"] <= resume_at]
            self.columns = list(dict.fromkeys(name for row in kept for name in row if name != "step"))
            self._write([{name: f"{value!r}" for name, value in row.items()} for row in kept])
        else:
            path.unlink(missing_ok=True)

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """config.yaml has them."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        row = {"step": str(step or 0)} | {name: f"{value!r}" for name, value in metrics.items() if name != "epoch"}
        new = [name for name in row if name != "step" and name not in self.columns]
        if new or not self.path.exists():
            rows = self._raw() if self.path.exists() else []
            self.columns += new
            self._write([*rows, row])
        else:
            with writing(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._lines([row]))

    def _raw(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, rows: list[dict[str, str]]) -> None:
        with whole(self.path) as beside:
            header = dict(zip(["step", *self.columns], ["step", *self.columns], strict=True))
            beside.write_text(self._lines([header, *rows]), encoding="utf-8")

    def _lines(self, rows: list[dict[str, str]]) -> str:
        lines = io.StringIO()
        csv.DictWriter(lines, ["step", *self.columns], restval="", lineterminator="\n").writerows(rows)
        return lines.getvalue()


def wandb_logger(
    save_dir: str, id: str, run_name: str, mode: str = "auto", project: str = "mnist_seq", **settings: Any
) -> WandbLogger:
    """Weights & Biases. `auto` is online where the user is logged in and the service answers, else offline.

    Args:
        id: of the run; one that is resumed goes on in the same run of W&B.
        run_name: what it is called; `name` or WANDB_NAME go before it.
        mode: auto, online or offline; WANDB_MODE goes before it.
        settings: passed on to `wandb.init`.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE", mode)
    if mode == "auto":
        address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        mode = "online" if _logged_in(address) and _answers(address) else "offline"
    if "WANDB_SILENT" not in os.environ:
        settings.setdefault("settings", wandb.Settings(silent=True))
    if "WANDB_NAME" not in os.environ:
        settings.setdefault("name", run_name)
    folder = Path(save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    project = os.environ.get("WANDB_PROJECT", project)
    return WandbLogger(save_dir=folder, id=id, project=project, mode=mode, resume="allow", **settings)


def begin(config: TrainConfig, run: Run) -> list[Logger]:
    """Those that a config asks for beside the table. Where the run is resumed, TensorBoard forgets later steps."""
    asked = dict(config.logger or {})
    for name, values in asked.items():
        if values and values.get("_target_") == TENSORBOARD and run.last.is_file():
            asked[name] = {"purge_step": weights.read_checkpoint(run.last)["global_step"] + 1} | values
    return targets(asked, "logger", save_dir=str(run.path), id=run.metrics["id"], run_name=run.path.resolve().name)


def log_config(loggers: list[Logger], config: TrainConfig) -> None:
    """Tell them what the run was asked to do. TensorBoard, which would show it twice, is told once."""
    for logger in loggers:
        if not (isinstance(logger, TensorBoardLogger) and any(Path(logger.log_dir).glob("events.*"))):
            logger.log_hyperparams(plain(config))


def conclude(loggers: list[Logger], run: Run) -> None:
    """Tell them what was found of the run's weights, as far as that is numbers, and W&B the weights and the report."""
    val = run.metrics.get("val", {})
    told = {f"judged/{name}": it for name, it in val.items() if isinstance(it, float) and name != "loss"}
    told |= {f"judged/{kind}": float(many) for kind, many in val.get("errors", {}).items()}
    for logger in loggers:
        of_its_own = {"hp_metric": val["exact_match"]} if val and isinstance(logger, TensorBoardLogger) else {}
        logger.log_metrics(told | of_its_own, run.metrics.get("steps", 0))
        if isinstance(logger, WandbLogger):
            _give_to_wandb(logger.experiment, run)


def _give_to_wandb(experiment: Any, run: Run) -> None:
    """The report; online, the weights that were evaluated, with their card."""
    import wandb

    if run.report.is_file():
        experiment.log({"report": wandb.Html(run.report.read_text(encoding="utf-8"), inject=False)})
    if not experiment.offline:
        artifact = wandb.Artifact(f"reader-{experiment.id}", type="model")
        for path in (run.weights, run.weights.with_name(weights.CARD)):
            artifact.add_file(str(path))
        experiment.log_artifact(artifact)


def finish(loggers: list[Logger]) -> list[str]:
    """End W&B's run, so that the next run of this process gets its own.

    Returns:
        What the user has to be told: how to upload a run that was recorded offline.
    """
    said = []
    for logger in loggers:
        if not isinstance(logger, WandbLogger) or logger._experiment is None:
            continue
        run = logger.experiment
        if run.offline:  # each process that went on with the run left a folder of its own
            parts = sorted(Path(run.dir).parents[1].glob(f"offline-run-*-{run.id}"))
            said.append(f"W&B recorded offline; to upload: wandb sync {shlex.join(map(str, parts))}")
        run.finish()
    return said


def _logged_in(address: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urlparse(address).hostname or ""
        given = os.environ.get("NETRC")
        return netrc.netrc(given).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _answers(address: str, patience: float = 3.0) -> bool:
    """Whether anything that speaks HTTP is there, name look-up included."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(address, timeout=patience):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience)
    return answered.is_set()
