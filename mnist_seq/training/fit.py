"""A training run from config to weights: build the parts, fit, evaluate, and write the run directory."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from rich.console import Console
from rich.markup import escape

from mnist_seq.cli import escape_unencodable
from mnist_seq.compose_config import compose, to_dataclass
from mnist_seq.config import EvaluateConfig, TrainConfig
from mnist_seq.config.override_syntax import format_command
from mnist_seq.config.validation import check
from mnist_seq.cpu_cores import available_cores
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.errors import CannotWriteError, UserError
from mnist_seq.find_runs import resolve_resume
from mnist_seq.inference import weights
from mnist_seq.reporting.evaluation_report import evaluate_and_report
from mnist_seq.reporting.run_summary import print_run_summary
from mnist_seq.run_dir import FAILURE_FILE, FINALIZED_STEPS, Run
from mnist_seq.run_lock import lock_new_run_dir, lock_run_dir
from mnist_seq.training import callbacks, checkpoints, distributed, hardware, loggers, signals, torch_settings
from mnist_seq.training.build import build_module_and_data, record_labels, resolve_digits
from mnist_seq.training.compile import compile_forward, reset_compiled
from mnist_seq.training.csv_logger import ResumableCSVLogger
from mnist_seq.training.finalize import finalize
from mnist_seq.training.instantiate import instantiate_targets
from mnist_seq.training.module import ReaderModule
from mnist_seq.training.progress import ProgressReporter
from mnist_seq.training.resume import load_resumed_config
from mnist_seq.training.run_log import log_to_file
from mnist_seq.training.steps import num_batches_seen
from mnist_seq.training.trainer import build_trainer, isolate_global_state
from mnist_seq.training.trainer_checks import check_callbacks, check_trainer_arguments

log = logging.getLogger(__name__)


def fit(overrides: list[str]) -> Run:
    """Train a run from its overrides, in a directory that no other process trains in, and print a summary.

    Args:
        overrides: as on the command line of `train`, without a sweep.

    Raises:
        UserError, NotFoundError, CannotWriteError: what the overrides ask for is not possible.
        DivergedError: the loss or a weight is NaN or infinite.
        Interrupted: a signal stopped the run, which can be resumed.
    """
    cfg, default_dir, is_default = compose("train", overrides, single_run=True)
    config = to_dataclass(cfg, TrainConfig)
    with escape_unencodable(), unique_run_dir(config, default_dir, is_default) as run_dir:
        return train_and_summarize(config, run_dir, overrides)


def train_and_summarize(config: TrainConfig, run_dir: Path, overrides: list[str], brief: bool = False) -> Run:
    """Train as `train` does; rank 0 prints the summary, in one line if `brief`."""
    run = train(config, run_dir, overrides)
    if distributed.process_rank(run.config.trainer) == 0:
        print_run_summary(run, brief)
    return run


def unique_run_dir(config: TrainConfig, run_dir: Path, default_dir: bool) -> AbstractContextManager[Path]:
    """Enter the directory of a run, or the next free one if another process has taken the same default name.

    Args:
        config: of the run.
        run_dir: where a new run goes.
        default_dir: whether the directory has the default name. The processes of one run share its directory: ranks
            other than 0 use the name as it is.
    """
    if config.resume or not default_dir or distributed.process_rank(hardware.resolve_auto(config.trainer)):
        return nullcontext(run_dir)
    return lock_new_run_dir(run_dir, "hydra.run.dir")


@isolate_global_state()
def train(config: TrainConfig, run_dir: Path, overrides: list[str] | None = None) -> Run:
    """Train in a locked run directory, evaluate on val (with `test`, on test too), and write all results there."""
    run = Run.open(resolve_resume(config.resume)) if config.resume else Run(run_dir)
    if config.resume:
        trainer_config = run.config.trainer
    else:
        trainer_config = config.trainer = hardware.resolve_auto(config.trainer)
        check_trainer_arguments(trainer_config)
        if trainer_config.threads is None and trainer_config.world_size == 1:
            trainer_config.threads = torch_settings.choose_threads()
    is_rank_zero = distributed.process_rank(trainer_config) == 0
    lock = lock_run_dir(run.path, "directory" if config.resume else "hydra.run.dir") if is_rank_zero else nullcontext()
    with distributed.set_rank_zero(trainer_config), lock:
        _train(config, run, overrides or [], is_rank_zero)
        if is_rank_zero:
            (run.path / FAILURE_FILE).unlink(missing_ok=True)
            if run.config.test:
                test_config = EvaluateConfig(run=str(run.path), split="test", report=bool(run.config.report))
                evaluate_and_report(test_config, Console(highlight=False, soft_wrap=True))
    return run


def _train(config: TrainConfig, run: Run, overrides: list[str], is_rank_zero: bool) -> None:
    """Train; only rank 0 writes, prints and evaluates."""
    console, resuming = Console(quiet=not is_rank_zero), config.resume is not None
    if resuming:
        config = load_resumed_config(run, config, overrides)
    else:
        config.trust = None
    module, data = build_module_and_data(replace(config, init_from=None) if resuming else config)
    user_callbacks = instantiate_targets(config.callbacks, "callbacks")
    if not resuming:
        check_callbacks(user_callbacks, _has_validation(config, data))
    check(not config.test or "test" in data.datasets, "test=true: these data have no test split, leave it out")
    resolve_digits(config.data, data)
    if is_rank_zero:
        run.write_config(config) if resuming else run.create(config, overrides)
        record_labels(run, data)
        run.update_metrics(**{FINALIZED_STEPS: run.finalized_steps})
        run.remove_partial_checkpoints()
    with log_to_file(run.log) if is_rank_zero else nullcontext(), torch_settings.limit_threads(config.trainer.threads):
        _print_run_header(run, config, data, console)
        if module.init_report and is_rank_zero:
            log.info("%s", module.init_report)
            report = {key: value for key, value in vars(module.init_report).items() if key != "trained_images"}
            run.update_metrics(init_from=report)
        extra_loggers = loggers.build_loggers(config, run) if is_rank_zero else []
        try:
            loggers.log_config(extra_loggers, config)
            _fit(run, config, module, data, user_callbacks, extra_loggers, console)
            if is_rank_zero:
                if not run.finished:
                    for split in ("val", "test"):
                        run.remove_metric(split)  # of the previous weights
                finalize(run, config, module, data)
                loggers.log_final_metrics(extra_loggers, run)
        except CannotWriteError as error:
            if not run.last_checkpoint.exists():
                raise
            command = format_command("train", resume=run.path)
            raise CannotWriteError(
                f"{error}; the last good checkpoint is {run.last_checkpoint}, resume with: {command}"
            ) from error
        finally:
            for message in loggers.close_loggers(extra_loggers):
                console.print(message, highlight=False, markup=False, soft_wrap=True)


def _has_validation(config: TrainConfig, data: SceneDataModule) -> bool:
    return "val" in data.datasets and config.trainer.lightning_kwargs().get("limit_val_batches") != 0


def _fit(
    run: Run,
    config: TrainConfig,
    module: ReaderModule,
    data: SceneDataModule,
    user_callbacks: list[Callback],
    extra_loggers: list[Logger],
    console: Console,
) -> None:
    """Fit the module with Lightning; on rank 0, load the weights that count and record what it took."""
    resume_step = weights.load_checkpoint(run.last_checkpoint)["global_step"] if run.last_checkpoint.exists() else None
    is_rank_zero = distributed.process_rank(config.trainer) == 0
    run_loggers = [ResumableCSVLogger(run.metrics_csv, resume_step), *extra_loggers] if is_rank_zero else []
    throughput, has_validation = callbacks.Throughput(), _has_validation(config, data)
    our_callbacks = _build_callbacks(run, config, throughput, has_validation, console)
    with torch_settings.restore_torch_settings(), signals.restore_signal_handlers():
        trainer = build_trainer(config.trainer, run, run_loggers, [*user_callbacks, *our_callbacks], has_validation)
        if config.trainer.compile:
            device_type = hardware.resolve_accelerator(config.trainer)
            compile_forward(module, device_type, accumulates=trainer.accumulate_grad_batches > 1)
        ckpt_path = run.last_checkpoint if resume_step is not None else None
        try:
            trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        except MisconfigurationException as error:
            raise UserError(f"Lightning rejects this config: {error}") from error
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning turns a second Ctrl-C into exit code 1
                raise KeyboardInterrupt from error
            raise
        finally:
            reset_compiled(module)
    check(trainer.global_step > 0, "training ended before its first step: increase trainer.max_time")
    if is_rank_zero:
        module.float()  # whatever the precision of training, evaluation is in float32
        state, _ = weights.load_state_dict(run.last_checkpoint)  # the averaged weights, where there are any
        module.model.load_state_dict(state)
        _record_training(run, config, trainer, throughput)


def _build_callbacks(
    run: Run, config: TrainConfig, throughput: callbacks.Throughput, has_validation: bool, console: Console
) -> list[Callback]:
    """The callbacks of every run; their order matters to Lightning."""
    batches_between_saves = config.trainer.val_check_interval or 1000
    accumulate = config.trainer.lightning_kwargs().get("accumulate_grad_batches", 1)
    every_n_steps = None if has_validation else max(1, batches_between_saves // accumulate)
    checkpoint_callback = checkpoints.ResumableCheckpoint(run, every_n_steps)
    return [
        throughput,
        callbacks.MatmulPrecision(config.trainer),
        signals.StopOnSignal(run, checkpoint_callback),
        callbacks.StopOnDivergence(run),
        callbacks.LogPredictions(),
        ProgressReporter(throughput, console),
        checkpoint_callback,
    ]


def _record_training(run: Run, config: TrainConfig, trainer: L.Trainer, throughput: callbacks.Throughput) -> None:
    """Add steps, scenes, time and precision to metrics.json."""
    if throughput.num_scenes or "seconds" not in run.metrics:  # a resumed run may have had no step left
        run.update_metrics(
            scenes_per_second=round(throughput.mean_scenes_per_second, 1), seconds=round(throughput.elapsed_seconds, 1)
        )
    run.update_metrics(
        steps=trainer.global_step,
        scenes=num_batches_seen(trainer) * config.data.batch_size * trainer.world_size,
        device=str(trainer.strategy.root_device),
        precision=str(trainer.precision),
        matmul_precision=config.trainer.matmul_precision,
        threads=torch.get_num_threads(),
    )


def _format_threads() -> str:
    threads, cores = torch.get_num_threads(), available_cores()
    return f"{threads} thread{'s' * (threads > 1)}" + f" on {cores} cores" * (threads != cores)


def _print_run_header(run: Run, config: TrainConfig, data: SceneDataModule, console: Console) -> None:
    trainer = config.trainer
    settings = f"{trainer.precision}, matmul {trainer.matmul_precision}, {_format_threads()}"
    console.print(
        f"training [bold]{config.model.name}[/] on [bold]{config.data.family}[/]: {trainer.max_steps} steps of "
        f"{config.data.batch_size} scenes, trainer={trainer.preset} ({settings}), digits={data.source}, seed "
        f"{config.seed}, in {escape(str(run.path))}",
        highlight=False,
        soft_wrap=True,
    )
    if warning := hardware.precision_warning(trainer):
        console.print(f"[yellow]{warning}", soft_wrap=True)
    if data.notice:
        console.rule(style="red")
        console.print(f"[bold red]{escape(data.notice)}", soft_wrap=True)
        console.rule(style="red")
