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

from mnist_seq import nn, trust
from mnist_seq.command_line import command_line
from mnist_seq.config import CustomConfig, EvaluateConfig, TrainConfig
from mnist_seq.config.law import require
from mnist_seq.data.module import SceneData
from mnist_seq.errors import CannotWriteError, NotFoundError, UserError
from mnist_seq.learn import callbacks, checkpoints, loggers, machine, ranks
from mnist_seq.learn.checks import check_arguments, check_callbacks
from mnist_seq.learn.conclude import conclude
from mnist_seq.learn.evaluation import evaluate
from mnist_seq.learn.modules import ReaderModule
from mnist_seq.learn.progress import ProgressReport
from mnist_seq.learn.trainer import build_trainer, isolated, targets
from mnist_seq.run import FAILURE, Run, resumable
from mnist_seq.run_lock import hold, hold_unused
from mnist_seq.use import weights

log = logging.getLogger(__name__)


def assemble(config: TrainConfig) -> tuple[ReaderModule, SceneData]:
    """The module and the data of a run, seeded, with digits at hand.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: no digits, nothing to begin with, or what has seen val.
    """
    machine.seed(config.seed)
    data = SceneData(config.data, config.seed)
    model = nn.build(config.model, data.spec)
    data.setup()
    module = ReaderModule(model, config.optim, config.loss)
    module.learnt_val = [data.source] if data.teaches_val else []
    if config.init_from:
        module.begins_with = weights.transfer(model, config.init_from)
        before = module.begins_with.learnt_val
        require(
            "val" not in data.sets or data.source not in before,
            f"init_from={config.init_from} learnt the val digits too (data.pool=full): "
            "choose data.pool=full, or a reader that did not",
        )
        module.learnt_val = sorted({*module.learnt_val, *before})
    return module, data


@contextmanager
def own_directory(config: TrainConfig, directory: Path, unnamed: bool) -> Iterator[Path]:
    """Where a run goes: the directory, or where another process was given the same default name, the next free one.

    Args:
        unnamed: the directory has the default name, which others may have too. Processes that share a run are told by
            name where it lies, or write nothing.
    """
    if config.resume or not unnamed or ranks.rank(machine.suited(config.trainer)):
        yield directory
        return
    with hold_unused(directory, "hydra.run.dir") as place:
        yield place


@isolated()
def train(config: TrainConfig, directory: Path, changed: list[str] | None = None) -> Run:
    """Train, judge on val, and leave all of it in the run's directory, in which nobody else trains meanwhile.

    Args:
        directory: where a new run goes.
        changed: the overrides that were asked for; when resuming, only those of steps and loggers may be.
    """
    run = Run.open(resumable(config.resume)) if config.resume else Run(directory)
    if config.resume:
        trainer = run.config.trainer
    else:
        trainer = config.trainer = machine.suited(config.trainer)
        check_arguments(trainer)
    with ranks.settled(trainer):
        first = ranks.rank(trainer) == 0  # of the processes that share a run; it alone writes, prints and evaluates
        with hold(run.path, "directory" if config.resume else "hydra.run.dir") if first else nullcontext():
            _train(config, run, changed or [], first)
            if first:
                (run.path / FAILURE).unlink(missing_ok=True)
            if first and run.config.test:
                asked = EvaluateConfig(run=str(run.path), split="test", report=bool(run.config.report))
                evaluate(asked, Console(highlight=False, soft_wrap=True))
    return run


def _train(config: TrainConfig, run: Run, changed: list[str], first: bool) -> None:
    console, resuming = Console(quiet=not first), config.resume is not None
    if resuming:
        config = _reopen(run, config, changed)
    else:
        config.trust = None
    module, data = assemble(replace(config, init_from=None) if resuming else config)
    theirs = targets(config.callbacks, "callbacks")
    if not resuming:
        check_callbacks(theirs, _validates(config, data))
    require(not config.test or "test" in data.sets, "test=true: these data have no test split, leave it out")
    config.data.digits = data.source  # what `auto` found stays this run's source
    if first:
        run.write_config(config) if resuming else run.begin(config, changed)
        run.remove_halves()
    with run.logging() if first else nullcontext(), machine.threads(config.trainer.threads):
        _say_what(run, config, data, console)
        if module.begins_with and first:
            log.info("%s", module.begins_with)
            run.record(init_from=vars(module.begins_with))
        others = loggers.begin(config, run) if first else []
        try:
            steps = run.metrics.get("steps")
            loggers.log_config(others, config)
            _fit(run, config, module, data, theirs, others, console)
            if first:
                if run.metrics["steps"] != steps:
                    run.forget("test")  # of weights that are replaced now
                conclude(run, config, module, data)
                loggers.conclude(others, run)
        except CannotWriteError as problem:
            if not run.last.exists():
                raise
            go_on = command_line("train", resume=run.path)
            raise CannotWriteError(f"{problem}; {run.last} is the last good one, go on with: {go_on}") from problem
        finally:
            for line in loggers.finish(others):
                console.print(line, highlight=False, markup=False, soft_wrap=True)


def _reopen(run: Run, config: TrainConfig, changed: list[str]) -> TrainConfig:
    """The own config of the run to resume, in which only the number of steps and the loggers may change.

    Raises:
        UserError: a change of anything else, or code of others in it that is not trusted.
        NotFoundError: nothing to go on from.
    """
    saved = run.config
    for override in changed:
        key = override.lstrip("+~").split("=")[0]
        if key == "trainer.max_steps":
            saved.trainer.max_steps = config.trainer.max_steps
        elif key == "test":
            saved.test = config.test
        elif key.split(".")[0] == "logger":
            saved.logger = config.logger
        elif key not in ("resume", "trust"):
            raise UserError(f"{override} cannot change a run that is resumed: only trainer.max_steps and logger can")
    if not run.last.is_file():
        raise NotFoundError(f"{run.path} holds no checkpoint to resume: start it again without resume=")
    taken, most = weights.read_checkpoint(run.last)["global_step"], saved.trainer.max_steps
    require(
        most is None or most >= taken,
        f"trainer.max_steps={most} is less than the {taken} steps that {run.path} has taken: choose more",
    )
    trust.require_trusted(run.path, _code(saved), config.trust, own=_code(config))
    return saved


def _code(config: TrainConfig) -> Iterator[str]:
    """The code that a config names and building its parts would run; of a class that is imported it has run."""
    yield from trust.targets([config.callbacks, config.logger])
    if isinstance(config.model, CustomConfig) and config.model._target_.rpartition(".")[0] not in sys.modules:
        yield config.model._target_


def _validates(config: TrainConfig, data: SceneData) -> bool:
    return "val" in data.sets and config.trainer.arguments().get("limit_val_batches") != 0


def _fit(
    run: Run,
    config: TrainConfig,
    module: ReaderModule,
    data: SceneData,
    theirs: list[Callback],
    others: list[Logger],
    console: Console,
) -> None:
    resumed = weights.read_checkpoint(run.last)["global_step"] if run.last.exists() else None
    first = ranks.rank(config.trainer) == 0
    told = [loggers.MetricsTable(run.table, resume_at=resumed), *others] if first else []
    speed = callbacks.Speed()
    validates = _validates(config, data)
    batches = config.trainer.val_check_interval or 1000
    accumulated = config.trainer.arguments().get("accumulate_grad_batches", 1)
    saving = checkpoints.Checkpoints(run, None if validates else max(1, batches // accumulated))
    ours = [
        speed,
        callbacks.MatmulPrecision(config.trainer),
        checkpoints.StopOnSignal(run, saving),
        callbacks.StopOnDivergence(run),
        callbacks.Pictures(),
        ProgressReport(speed, console),
        saving,
    ]
    with machine.torch_settings(), checkpoints.signal_handlers_restored():
        trainer = build_trainer(config.trainer, run, told, [*theirs, *ours], validates)
        if config.trainer.compile:
            module.compile_forward(machine.kind(config.trainer))
        try:
            trainer.fit(module, data, ckpt_path=run.last if resumed is not None else None, weights_only=True)
        except MisconfigurationException as problem:
            raise UserError(f"Lightning refuses: {problem}") from problem
        except SystemExit as left:
            if isinstance(left.__context__, KeyboardInterrupt):  # a second Ctrl-C, of which Lightning makes exit code 1
                raise KeyboardInterrupt from left
            raise
        finally:
            module.forget_compiled()
    require(trainer.global_step > 0, "training ended before its first step: give more trainer.max_time")
    if not first:
        return
    module.float()  # whatever the precision of training: evaluation is in float32
    module.model.load_state_dict(weights.load(run.last)[0].state_dict())  # of averaged weights, where there are some
    if speed.scenes or "seconds" not in run.metrics:  # a run that is resumed may have had no step left
        run.record(scenes_per_second=round(speed.mean, 1), seconds=round(speed.spent, 1))
    run.record(
        steps=trainer.global_step,
        scenes=checkpoints.batches_shown(trainer) * config.data.batch_size * trainer.world_size,
        device=str(trainer.strategy.root_device),
        precision=str(trainer.precision),
        matmul_precision=config.trainer.matmul_precision,
    )


def _say_what(run: Run, config: TrainConfig, data: SceneData, console: Console) -> None:
    trainer = config.trainer
    console.print(
        f"[bold]{config.model.name}[/] reads [bold]{config.data.family}[/]: {trainer.max_steps} steps of "
        f"{config.data.batch_size} scenes, trainer={trainer.preset} ({trainer.precision}, matmul "
        f"{trainer.matmul_precision}), digits={data.source}, seed {config.seed}, in {escape(str(run.path))}",
        highlight=False,
        soft_wrap=True,
    )
    if remark := machine.remark(trainer):
        console.print(f"[yellow]{remark}", soft_wrap=True)
    if data.notice:
        console.rule(style="red")
        console.print(f"[bold red]{escape(data.notice)}", soft_wrap=True)
        console.rule(style="red")
