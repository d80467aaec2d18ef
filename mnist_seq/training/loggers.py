"""Loggers of a run besides metrics.csv: building them, and logging the config and the final metrics."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from mnist_seq.config import TrainConfig
from mnist_seq.config.serialization import to_dict
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.training.instantiate import instantiate_targets
from mnist_seq.training.wandb_logger import finish_wandb_run, log_artifacts

TENSORBOARD_TARGET = "lightning.pytorch.loggers.TensorBoardLogger"


def build_loggers(config: TrainConfig, run: Run) -> list[Logger]:
    """Build the loggers of a config. For a resumed run, TensorBoard purges later steps."""
    group = dict(config.logger or {})
    for name, values in group.items():
        if values and values.get("_target_") == TENSORBOARD_TARGET and run.last_checkpoint.is_file():
            group[name] = {"purge_step": weights.load_checkpoint(run.last_checkpoint)["global_step"] + 1} | values
    return instantiate_targets(
        group, "logger", save_dir=str(run.path), id=run.metrics["id"], run_name=run.path.resolve().name
    )


def log_config(loggers: list[Logger], config: TrainConfig) -> None:
    """Log the config as hyperparameters; not again to TensorBoard for a resumed run, which would show it twice."""
    for logger in loggers:
        if not (isinstance(logger, TensorBoardLogger) and any(Path(logger.log_dir).glob("events.*"))):
            logger.log_hyperparams(to_dict(config))


def log_final_metrics(loggers: list[Logger], run: Run) -> None:
    """Log the metrics of the final weights; to W&B the report and the weights, too."""
    val = run.metrics.get("val", {})
    metrics = {f"eval/{name}": value for name, value in val.items() if isinstance(value, float) and name != "loss"}
    metrics |= {f"eval/{error_type}": float(count) for error_type, count in val.get("errors", {}).items()}
    for logger in loggers:
        hp_metric = {"hp_metric": val["exact_match"]} if val and isinstance(logger, TensorBoardLogger) else {}
        logger.log_metrics(metrics | hp_metric, run.metrics.get("steps", 0))
        if isinstance(logger, WandbLogger):
            log_artifacts(logger, run)


def close_loggers(loggers: list[Logger]) -> list[str]:
    """Close the loggers that need it, and return messages for the user."""
    messages = [finish_wandb_run(logger) for logger in loggers if isinstance(logger, WandbLogger)]
    return [message for message in messages if message]
