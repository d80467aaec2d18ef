"""The directory of a sweep: locked while the sweep runs, and unique if it has the default name."""

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
    """Hydra callback: lock the sweep's directory until the sweep ends, however it ends.

    If another run has taken the default directory, which is named after the time, this sweep gets one with a suffix.
    """

    def __init__(self) -> None:
        self._locks = ExitStack()

    def __reduce__(self) -> tuple[type[SweepDirLock], tuple[()]]:
        return type(self), ()  # launchers pickle callbacks for the processes of their jobs, which hold no locks

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        with cli.report_errors():
            is_default = is_default_dir(config.hydra.sweep)
            cli.register_cleanup(partial(cli.remove_empty_dirs, directory if is_default else None))
            cli.register_cleanup(self._locks.close)  # an interrupted sweep never calls on_multirun_end
            if not is_default:
                self._locks.enter_context(run_lock.lock_run_dir(directory, SWEEP_DIR_KEY))
                return
            unique = self._locks.enter_context(run_lock.lock_new_run_dir(directory, SWEEP_DIR_KEY))
        if unique != directory:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(unique)
                # The jobs' configs are composed from the overrides.
                config.hydra.overrides.hydra.append(format_override(SWEEP_DIR_KEY, unique))

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        self._locks.close()
