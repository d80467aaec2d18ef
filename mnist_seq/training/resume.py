"""Resuming a run: what may change, and what must be there."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from mnist_seq.config import CustomConfig, FolderConfig, TrainConfig, trust
from mnist_seq.config.override_syntax import split_override
from mnist_seq.config.validation import check
from mnist_seq.cpu_cores import available_cores
from mnist_seq.errors import NotFoundError, UserError
from mnist_seq.inference import weights
from mnist_seq.run_dir import Run
from mnist_seq.training.torch_settings import choose_threads
from mnist_seq.training.trainer_checks import check_trainer_arguments

log = logging.getLogger(__name__)


def load_resumed_config(run: Run, config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """Load the saved config of the run to resume, with the new number of steps, threads, loggers and path of images.

    Args:
        run: the run to resume.
        config: composed from the overrides.
        overrides: what the user typed.

    Raises:
        UserError: an override of anything else, or untrusted code in the saved config.
        NotFoundError: the run has no checkpoint.
    """
    saved = run.config
    for override in overrides:
        _, key, _ = split_override(override)
        if key == "trainer.max_steps":
            saved.trainer.max_steps = config.trainer.max_steps
        elif key == "trainer.threads":
            saved.trainer.threads = config.trainer.threads or choose_threads()
        elif (
            key in ("data", "data.path", "data.from")
            and isinstance(saved.data, FolderConfig)
            and isinstance(config.data, FolderConfig)
        ):
            saved.data.path = config.data.path
        elif key == "test":
            saved.test = config.test
        elif key.split(".")[0] == "logger":
            saved.logger = config.logger
        elif key not in ("resume", "trust"):
            raise UserError(
                f"{override} cannot change a resumed run: only trainer.max_steps, trainer.threads, test, logger and, "
                "where images have moved, data.from can"
            )
    check_trainer_arguments(saved.trainer)
    if not run.last_checkpoint.is_file():
        raise NotFoundError(f"{run.path} has no checkpoint to resume from: start it again without resume=")
    steps_taken, max_steps = weights.load_checkpoint(run.last_checkpoint)["global_step"], saved.trainer.max_steps
    check(
        max_steps is None or max_steps >= steps_taken,
        f"trainer.max_steps={max_steps} is less than the {steps_taken} steps that {run.path} has taken: choose more",
    )
    if (saved.trainer.threads or 1) > (cores := available_cores()):
        log.warning(
            "%s has %d threads, but this machine has %d cores: trainer.threads=%d is faster, and rounds differently",
            run.path,
            saved.trainer.threads,
            cores,
            cores,
        )
    trust.check_trusted(run.path, _custom_code(saved), config.trust, user_targets=_custom_code(config))
    return saved


def _custom_code(config: TrainConfig) -> Iterator[str]:
    """Names of the user's code that building the parts of a config would run.

    The module of a custom model counts only if it is not imported yet: else its code has run already.
    """
    yield from trust.find_targets([config.callbacks, config.logger])
    if isinstance(config.model, CustomConfig) and config.model._target_.rpartition(".")[0] not in sys.modules:
        yield config.model._target_
