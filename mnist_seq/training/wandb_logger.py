"""Weights & Biases: online where that works, else offline; the report and the weights as artifacts."""

from __future__ import annotations

import netrc
import os
import shlex
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger

from mnist_seq.inference import weights
from mnist_seq.run_dir import Run


def wandb_logger(
    save_dir: str, id: str, run_name: str, mode: str = "auto", project: str = "mnist_seq", **settings: Any
) -> WandbLogger:
    """Build Lightning's logger for Weights & Biases.

    Args:
        save_dir: where W&B writes its files.
        id: the id of the W&B run; a resumed run continues the same one.
        run_name: the name of the W&B run; `name` and WANDB_NAME take precedence.
        mode: auto, online or offline; `auto` is online where the user is logged in and the service responds, else
            offline. WANDB_MODE takes precedence.
        project: the W&B project; WANDB_PROJECT takes precedence.
        settings: passed on to `wandb.init`.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE", mode)
    if mode == "auto":
        url = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
        mode = "online" if _has_wandb_credentials(url) and _is_reachable(url) else "offline"
    if "WANDB_SILENT" not in os.environ:
        settings.setdefault("settings", wandb.Settings(silent=True))
    if "WANDB_NAME" not in os.environ:
        settings.setdefault("name", run_name)
    folder = Path(save_dir)
    folder.mkdir(parents=True, exist_ok=True)
    project = os.environ.get("WANDB_PROJECT", project)
    return WandbLogger(save_dir=folder, id=id, project=project, mode=mode, resume="allow", **settings)


def log_artifacts(logger: WandbLogger, run: Run) -> None:
    """Log the report and, online, the evaluated weights with their card."""
    import wandb

    experiment: Any = logger.experiment
    if run.report.is_file():
        experiment.log({"report": wandb.Html(run.report.read_text(encoding="utf-8"), inject=False)})
    if not experiment.offline:
        artifact = wandb.Artifact(f"reader-{experiment.id}", type="model")
        for path in (run.weights, run.weights.with_name(weights.CARD_FILE)):
            artifact.add_file(str(path))
        experiment.log_artifact(artifact)


def finish_wandb_run(logger: WandbLogger) -> str:
    """End the W&B run, so that the next run of this process gets its own.

    Returns:
        How to upload a run that was recorded offline; else empty.
    """
    if logger._experiment is None:
        return ""
    wandb_run, message = logger.experiment, ""
    if wandb_run.offline:  # each process left a folder of its own; a second one of the same second ends in a number
        folders = sorted(Path(wandb_run.dir).parents[1].glob(f"offline-run-*-{wandb_run.id}*"))
        message = f"W&B ran offline; to upload: wandb sync {shlex.join(map(str, folders))}"
    wandb_run.finish()
    return message


def _has_wandb_credentials(url: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urlparse(url).hostname or ""
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _is_reachable(url: str, timeout: float = 3.0) -> bool:
    """Whether an HTTP server responds within `timeout` seconds; a slow name lookup counts too, hence the thread."""
    responded = threading.Event()

    def request() -> None:
        with suppress(OSError, ValueError):
            with suppress(urllib.error.HTTPError):  # a response, too
                urllib.request.urlopen(url, timeout=timeout).close()
            responded.set()

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(timeout)
    return responded.is_set()
