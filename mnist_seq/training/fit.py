"""A training run from config to weights: build the parts, fit them, evaluate, write what the run directory holds."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from rich.console import Console
from rich.markup import escape

from mnist_seq import nn
from mnist_seq.config import CustomConfig, EvaluateConfig, TrainConfig, trust
from mnist_seq.config.override_syntax import format_command
from mnist_seq.config.validation import check
from mnist_seq.data.datamodule import SceneDataModule
from mnist_seq.errors import CannotWriteError, NotFoundError, UserError
from mnist_seq.inference import weights
from mnist_seq.inference.init_from import load_matching
from mnist_seq.reporting.evaluation_report import evaluate_and_report
from mnist_seq.run_dir import FAILURE_FILE, Run, resolve_resume
from mnist_seq.run_lock import lock_new_run_dir, lock_run_dir
from mnist_seq.training import callbacks, checkpoints, distributed, hardware, loggers
from mnist_seq.training.finalize import finalize
from mnist_seq.training.module import ReaderModule
from mnist_seq.training.progress import ProgressReporter
from mnist_seq.training.trainer import build_trainer, instantiate_targets, isolate_global_state
from mnist_seq.training.trainer_checks import check_callbacks, check_trainer_arguments

log = logging.getLogger(__name__)


def build_module_and_data(config: TrainConfig) -> tuple[ReaderModule, SceneDataModule]:
    """The module and the data of a run, seeded, with digits at hand.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: no digits, nothing to begin with, or what has seen val.
    """
    hardware.seed_all(config.seed)
    data = SceneDataModule(config.data, config.seed)
    model = nn.build(config.model, data.spec)
    data.setup()
    module = ReaderModule(model, config.optim, config.loss)
    module.trained_on_val = [data.source] if data.train_includes_val else []
    if config.init_from:
        module.init_report = load_matching(model, config.init_from)
        before = module.init_report.trained_on_val
        check(
            "val" not in data.datasets or data.source not in before,
            f"init_from={config.init_from} learnt the val digits too (data.pool=full): "
            "choose data.pool=full, or a reader that did not",
        )
        module.trained_on_val = sorted({*module.trained_on_val, *before})
    return module, data


@contextmanager
def unique_run_dir(config: TrainConfig, directory: Path, is_default_name: bool) -> Iterator[Path]:
    """Where a run goes: the directory, or where another process was given the same default name, the next free one.

    Args:
        unnamed: the directory has the default name, which others may have too. Processes that share a run are told by
            name where it lies, or write nothing.
    """
    if config.resume or not is_default_name or distributed.process_rank(hardware.resolve_auto(config.trainer)):
        yield directory
        return
    with lock_new_run_dir(directory, "hydra.run.dir") as place:
        yield place


@isolate_global_state()
def train(config: TrainConfig, directory: Path, overrides: list[str] | None = None) -> Run:
    """Train, judge on val, and leave all of it in the run's directory, in which nobody else trains meanwhile.

    Args:
        directory: where a new run goes.
        changed: the overrides that were asked for; when resuming, only those of steps and loggers may be.
    """
    run = Run.open(resolve_resume(config.resume)) if config.resume else Run(directory)
    if config.resume:
        trainer = run.config.trainer
    else:
        trainer = config.trainer = hardware.resolve_auto(config.trainer)
        check_trainer_arguments(trainer)
    with distributed.set_rank_zero(trainer):
        first = (
            distributed.process_rank(trainer) == 0
        )  # of the processes that share a run; it alone writes, prints and evaluates
        with lock_run_dir(run.path, "directory" if config.resume else "hydra.run.dir") if first else nullcontext():
            _train(config, run, overrides or [], first)
            if first:
                (run.path / FAILURE_FILE).unlink(missing_ok=True)
            if first and run.config.test:
                asked = EvaluateConfig(run=str(run.path), split="test", report=bool(run.config.report))
                evaluate_and_report(asked, Console(highlight=False, soft_wrap=True))
    return run


def _train(config: TrainConfig, run: Run, overrides: list[str], is_rank_zero: bool) -> None:
    console, resuming = Console(quiet=not is_rank_zero), config.resume is not None
    if resuming:
        config = _load_resumed_config(run, config, overrides)
    else:
        config.trust = None
    module, data = build_module_and_data(replace(config, init_from=None) if resuming else config)
    theirs = instantiate_targets(config.callbacks, "callbacks")
    if not resuming:
        check_callbacks(theirs, _has_validation(config, data))
    check(not config.test or "test" in data.datasets, "test=true: these data have no test split, leave it out")
    config.data.digits = data.source  # what `auto` found stays this run's source
    if is_rank_zero:
        run.write_config(config) if resuming else run.create(config, overrides)
        run.remove_partial_checkpoints()
    with run.log_to_file() if is_rank_zero else nullcontext(), hardware.limit_threads(config.trainer.threads):
        _print_run_header(run, config, data, console)
        if module.init_report and is_rank_zero:
            log.info("%s", module.init_report)
            run.update_metrics(init_from=vars(module.init_report))
        others = loggers.build_loggers(config, run) if is_rank_zero else []
        try:
            steps = run.metrics.get("steps")
            loggers.log_config(others, config)
            _fit(run, config, module, data, theirs, others, console)
            if is_rank_zero:
                if run.metrics["steps"] != steps:
                    run.remove_metric("test")  # of weights that are replaced now
                finalize(run, config, module, data)
                loggers.log_final_metrics(others, run)
        except CannotWriteError as problem:
            if not run.last_checkpoint.exists():
                raise
            go_on = format_command("train", resume=run.path)
            raise CannotWriteError(
                f"{problem}; {run.last_checkpoint} is the last good one, go on with: {go_on}"
            ) from problem
        finally:
            for line in loggers.close_loggers(others):
                console.print(line, highlight=False, markup=False, soft_wrap=True)


def _load_resumed_config(run: Run, config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """The own config of the run to resume, in which only the number of steps and the loggers may change.

    Raises:
        UserError: a change of anything else, or code of others in it that is not trusted.
        NotFoundError: nothing to go on from.
    """
    saved = run.config
    for override in overrides:
        key = override.lstrip("+~").split("=")[0]
        if key == "trainer.max_steps":
            saved.trainer.max_steps = config.trainer.max_steps
        elif key == "test":
            saved.test = config.test
        elif key.split(".")[0] == "logger":
            saved.logger = config.logger
        elif key not in ("resume", "trust"):
            raise UserError(f"{override} cannot change a run that is resumed: only trainer.max_steps and logger can")
    if not run.last_checkpoint.is_file():
        raise NotFoundError(f"{run.path} holds no checkpoint to resume: start it again without resume=")
    taken, most = weights.load_checkpoint(run.last_checkpoint)["global_step"], saved.trainer.max_steps
    check(
        most is None or most >= taken,
        f"trainer.max_steps={most} is less than the {taken} steps that {run.path} has taken: choose more",
    )
    trust.check_trusted(run.path, _custom_code(saved), config.trust, user_targets=_custom_code(config))
    return saved


def _custom_code(config: TrainConfig) -> Iterator[str]:
    """The code that a config names and building its parts would run; of a class that is imported it has run."""
    yield from trust.find_targets([config.callbacks, config.logger])
    if isinstance(config.model, CustomConfig) and config.model._target_.rpartition(".")[0] not in sys.modules:
        yield config.model._target_


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
    resumed = weights.load_checkpoint(run.last_checkpoint)["global_step"] if run.last_checkpoint.exists() else None
    first = distributed.process_rank(config.trainer) == 0
    told = [loggers.ResumableCSVLogger(run.metrics_csv, resume_step=resumed), *extra_loggers] if first else []
    speed = callbacks.Throughput()
    validates = _has_validation(config, data)
    batches = config.trainer.val_check_interval or 1000
    accumulated = config.trainer.lightning_kwargs().get("accumulate_grad_batches", 1)
    saving = checkpoints.ResumableCheckpoint(run, None if validates else max(1, batches // accumulated))
    ours = [
        speed,
        callbacks.MatmulPrecision(config.trainer),
        checkpoints.StopOnSignal(run, saving),
        callbacks.StopOnDivergence(run),
        callbacks.LogPredictions(),
        ProgressReporter(speed, console),
        saving,
    ]
    with hardware.restore_torch_settings(), checkpoints.restore_signal_handlers():
        trainer = build_trainer(config.trainer, run, told, [*user_callbacks, *ours], validates)
        if config.trainer.compile:
            module.compile_forward(hardware.resolve_accelerator(config.trainer))
        try:
            trainer.fit(module, data, ckpt_path=run.last_checkpoint if resumed is not None else None, weights_only=True)
        except MisconfigurationException as problem:
            raise UserError(f"Lightning refuses: {problem}") from problem
        except SystemExit as left:
            if isinstance(left.__context__, KeyboardInterrupt):  # a second Ctrl-C, of which Lightning makes exit code 1
                raise KeyboardInterrupt from left
            raise
        finally:
            module.reset_compiled()
    check(trainer.global_step > 0, "training ended before its first step: give more trainer.max_time")
    if not first:
        return
    module.float()  # whatever the precision of training: evaluation is in float32
    module.model.load_state_dict(
        weights.load(run.last_checkpoint)[0].state_dict()
    )  # of averaged weights, where there are some
    if speed.num_scenes or "seconds" not in run.metrics:  # a run that is resumed may have had no step left
        run.update_metrics(
            scenes_per_second=round(speed.mean_scenes_per_second, 1), seconds=round(speed.elapsed_seconds, 1)
        )
    run.update_metrics(
        steps=trainer.global_step,
        scenes=checkpoints.num_batches_seen(trainer) * config.data.batch_size * trainer.world_size,
        device=str(trainer.strategy.root_device),
        precision=str(trainer.precision),
        matmul_precision=config.trainer.matmul_precision,
    )


def _print_run_header(run: Run, config: TrainConfig, data: SceneDataModule, console: Console) -> None:
    trainer = config.trainer
    console.print(
        f"[bold]{config.model.name}[/] reads [bold]{config.data.family}[/]: {trainer.max_steps} steps of "
        f"{config.data.batch_size} scenes, trainer={trainer.preset} ({trainer.precision}, matmul "
        f"{trainer.matmul_precision}), digits={data.source}, seed {config.seed}, in {escape(str(run.path))}",
        highlight=False,
        soft_wrap=True,
    )
    if remark := hardware.precision_warning(trainer):
        console.print(f"[yellow]{remark}", soft_wrap=True)
    if data.notice:
        console.rule(style="red")
        console.print(f"[bold red]{escape(data.notice)}", soft_wrap=True)
        console.rule(style="red")
