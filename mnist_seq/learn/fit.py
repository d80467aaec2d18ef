"""A training run from config to weights: build the parts, fit them, evaluate, write what the run directory holds."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from rich.console import Console

from mnist_seq import nn
from mnist_seq.config import TrainConfig
from mnist_seq.config.law import require
from mnist_seq.data.module import SceneData
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.learn import callbacks, checkpoints, loggers, machine
from mnist_seq.learn.conclude import conclude
from mnist_seq.learn.modules import ReaderModule
from mnist_seq.learn.progress import ProgressReport
from mnist_seq.learn.trainer import build_trainer, isolated, targets
from mnist_seq.run import Run
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
    if machine.rank():
        torch.manual_seed(config.seed + machine.rank())  # dropout of its own
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


@isolated()
def train(config: TrainConfig, directory: Path, changed: list[str] | None = None) -> Run:
    """Train, judge on val, and leave all of it in the run's directory.

    Args:
        directory: where a new run goes.
        changed: the overrides that were asked for; when resuming, only those of steps and loggers may be.
    """
    first = machine.rank() == 0  # of the processes that share a run; it alone writes, prints and judges
    console, resuming = Console(quiet=not first), config.resume is not None
    if resuming:
        run, config = _reopen(config, changed or [])
    else:
        run, config.trainer = Run(directory), machine.suited(config.trainer)
    module, data = assemble(replace(config, init_from=None) if resuming else config)
    config.data.digits = data.source  # what `auto` found stays this run's source
    if first:
        run.write_config(config) if resuming else run.begin(config, changed)
    with run.logging() if first else nullcontext(), machine.threads(config.trainer.threads):
        _say_what(run, config, data, console)
        if module.begins_with and first:
            log.info("%s", module.begins_with)
            run.record(init_from=vars(module.begins_with))
        others = loggers.begin(config, run) if first else []
        try:
            loggers.log_config(others, config)
            _fit(run, config, module, data, others, console)
            if first:
                conclude(run, config, module, data)
                loggers.conclude(others, run)
        finally:
            for line in loggers.finish(others):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
    return run


def _reopen(config: TrainConfig, changed: list[str]) -> tuple[Run, TrainConfig]:
    """The run to resume and its own config, in which only the number of steps and the loggers may change."""
    run = Run.open(str(config.resume))
    saved = run.config
    for override in changed:
        key = override.lstrip("+~").split("=")[0]
        if key == "trainer.max_steps":
            saved.trainer.max_steps = config.trainer.max_steps
        elif key.split(".")[0] == "logger":
            saved.logger = config.logger
        elif key != "resume":
            raise UserError(f"{override} cannot change a run that is resumed: only trainer.max_steps and logger can")
    if not run.last.is_file():
        raise NotFoundError(f"{run.path} holds no checkpoint to resume: start it again without resume=")
    return run, saved


def _fit(
    run: Run, config: TrainConfig, module: ReaderModule, data: SceneData, others: list[Logger], console: Console
) -> None:
    resumed = weights.read_checkpoint(run.last)["global_step"] if run.last.exists() else None
    first = machine.rank() == 0
    told = [loggers.MetricsTable(run.table, resume_at=resumed), *others] if first else []
    speed = callbacks.Speed()
    validates = "val" in data.sets
    saving = checkpoints.Checkpoints(run, None if validates else config.trainer.val_check_interval or 1000)
    ours = [
        speed,
        callbacks.MatmulPrecision(config.trainer),
        checkpoints.StopOnSignal(run, saving),
        callbacks.StopOnDivergence(run),
        callbacks.Pictures(),
        ProgressReport(speed, console),
        saving,
    ]
    theirs = targets(config.callbacks, "callbacks")
    trainer = build_trainer(config.trainer, run, told, [*theirs, *ours], validates)
    if config.trainer.compile:
        module.compile_forward(machine.kind(config.trainer))
    try:
        trainer.fit(module, data, ckpt_path=run.last if resumed is not None else None, weights_only=True)
    except MisconfigurationException as problem:
        raise UserError(f"Lightning refuses: {problem}") from problem
    finally:
        module.forget_compiled()
    if first and run.last.exists():  # what is saved counts: the averaged weights, where there are some
        module.model.load_state_dict(weights.load(run.last)[0].state_dict())
    if not first:
        return
    if speed.scenes or "seconds" not in run.metrics:  # a run that is resumed may have had no step left
        run.record(scenes_per_second=round(speed.mean, 1), seconds=round(speed.spent, 1))
    run.record(
        steps=trainer.global_step,
        scenes=trainer.global_step * config.data.batch_size * trainer.world_size * trainer.accumulate_grad_batches,
        device=str(trainer.strategy.root_device),
        precision=str(trainer.precision),
        matmul_precision=config.trainer.matmul_precision,
    )


def _say_what(run: Run, config: TrainConfig, data: SceneData, console: Console) -> None:
    trainer = config.trainer
    console.print(
        f"[bold]{config.model.name}[/] reads [bold]{config.data.family}[/]: {trainer.max_steps} steps of "
        f"{config.data.batch_size} scenes, trainer={trainer.preset} ({trainer.precision}, matmul "
        f"{trainer.matmul_precision}), digits={data.source}, seed {config.seed}, in {run.path}",
        highlight=False,
        soft_wrap=True,
    )
    if remark := machine.remark(trainer):
        console.print(f"[yellow]{remark}", soft_wrap=True)
    if data.notice:
        console.rule(style="red")
        console.print(f"[bold red]{data.notice}", soft_wrap=True)
        console.rule(style="red")
