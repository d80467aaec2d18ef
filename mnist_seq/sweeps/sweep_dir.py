"""One sweep at a time in a directory, and a directory of its own for each that does not name one."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import open_dict, read_write

from mnist_seq import cli, run_lock
from mnist_seq.compose_config import is_default_dir
from mnist_seq.config.override_syntax import format_override

SWEEP_DIR_KEY = "hydra.sweep.dir"


class SweepDirLock(Callback):
    """Holds the sweep's directory until the sweep ends, however it does; a default name that is taken gets a suffix."""

    def __init__(self) -> None:
        self._locks = ExitStack()

    def __reduce__(self) -> tuple[type[SweepDirLock], tuple[()]]:
        return type(self), ()  # a launcher hands callbacks to the processes of its jobs, which hold nothing

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        with cli.report_errors():
            default = is_default_dir(config.hydra.sweep)
            cli.register_cleanup(partial(cli.remove_empty_dirs, directory if default else None))
            cli.register_cleanup(self._locks.close)  # a sweep that breaks off has no end that callbacks hear of
            if not default:
                self._locks.enter_context(run_lock.lock_run_dir(directory, SWEEP_DIR_KEY))
                return
            place = self._locks.enter_context(run_lock.lock_new_run_dir(directory, SWEEP_DIR_KEY))
        if place != directory:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(place)
                config.hydra.overrides.hydra.append(
                    format_override(SWEEP_DIR_KEY, place)
                )  # of which the jobs' configs are composed

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        self._locks.close()
