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

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from mnist_seq.atomic_io import atomic_path, write_errors
from mnist_seq.config import TrainConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run, read_metrics_csv
from mnist_seq.training.trainer import instantiate_targets

TENSORBOARD_TARGET = "lightning.pytorch.loggers.TensorBoardLogger"


class ResumableCSVLogger(Logger):
    """metrics.csv: a row each time something is logged, on disk at once, so that a kill loses none.

    Args:
        resume_at: keep the rows up to this step of a table that is there, and go on after them.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        if resume_step is not None and path.exists():
            kept = [row for row in read_metrics_csv(path) if row["step"] <= resume_step]
            self.columns = list(dict.fromkeys(name for row in kept for name in row if name != "step"))
            self._write_rows([{name: f"{value!r}" for name, value in row.items()} for row in kept])
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
            rows = self._read_rows() if self.path.exists() else []
            self.columns += new
            self._write_rows([*rows, row])
        else:
            with write_errors(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                file.write(self._to_csv([row]))

    def _read_rows(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write_rows(self, rows: list[dict[str, str]]) -> None:
        with atomic_path(self.path) as beside:
            header = dict(zip(["step", *self.columns], ["step", *self.columns], strict=True))
            beside.write_text(self._to_csv([header, *rows]), encoding="utf-8")

    def _to_csv(self, rows: list[dict[str, str]]) -> str:
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
        mode = "online" if _has_wandb_credentials(address) and _is_reachable(address) else "offline"
    if "WANDB_SILENT" not in os.environ:
        settings.setdefault("settings", wandb.Settings(silent=True))
    if "WANDB_NAME" not in os.environ:
        settings.setdefault("name", run_name)
    folder = Path(save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    project = os.environ.get("WANDB_PROJECT", project)
    return WandbLogger(save_dir=folder, id=id, project=project, mode=mode, resume="allow", **settings)


def build_loggers(config: TrainConfig, run: Run) -> list[Logger]:
    """Those that a config asks for beside the table. Where the run is resumed, TensorBoard forgets later steps."""
    asked = dict(config.logger or {})
    for name, values in asked.items():
        if values and values.get("_target_") == TENSORBOARD_TARGET and run.last_checkpoint.is_file():
            asked[name] = {"purge_step": weights.load_checkpoint(run.last_checkpoint)["global_step"] + 1} | values
    return instantiate_targets(
        asked, "logger", save_dir=str(run.path), id=run.metrics["id"], run_name=run.path.resolve().name
    )


def log_config(loggers: list[Logger], config: TrainConfig) -> None:
    """Tell them what the run was asked to do. TensorBoard, which would show it twice, is told once."""
    for logger in loggers:
        if not (isinstance(logger, TensorBoardLogger) and any(Path(logger.log_dir).glob("events.*"))):
            logger.log_hyperparams(to_dict(config))


def log_final_metrics(loggers: list[Logger], run: Run) -> None:
    """Tell them what was found of the run's weights, as far as that is numbers, and W&B the weights and the report."""
    val = run.metrics.get("val", {})
    told = {f"judged/{name}": it for name, it in val.items() if isinstance(it, float) and name != "loss"}
    told |= {f"judged/{kind}": float(many) for kind, many in val.get("errors", {}).items()}
    for logger in loggers:
        of_its_own = {"hp_metric": val["exact_match"]} if val and isinstance(logger, TensorBoardLogger) else {}
        logger.log_metrics(told | of_its_own, run.metrics.get("steps", 0))
        if isinstance(logger, WandbLogger):
            _log_wandb_artifacts(logger.experiment, run)


def _log_wandb_artifacts(experiment: Any, run: Run) -> None:
    """The report; online, the weights that were evaluated, with their card."""
    import wandb

    if run.report.is_file():
        experiment.log({"report": wandb.Html(run.report.read_text(encoding="utf-8"), inject=False)})
    if not experiment.offline:
        artifact = wandb.Artifact(f"reader-{experiment.id}", type="model")
        for path in (run.weights, run.weights.with_name(weights.CARD_FILE)):
            artifact.add_file(str(path))
        experiment.log_artifact(artifact)


def close_loggers(loggers: list[Logger]) -> list[str]:
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


def _has_wandb_credentials(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urlparse(url).hostname or ""
        given = os.environ.get("NETRC")
        return netrc.netrc(given).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _is_reachable(url: str, timeout: float = 3.0) -> bool:
    """Whether anything that speaks HTTP is there, name look-up included."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=timeout):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout)
    return answered.is_set()
