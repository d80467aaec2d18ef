"""One sweep at a time in a directory, and a directory of its own for each that does not name one."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import open_dict, read_write

from mnist_seq import command, run_lock
from mnist_seq.command_line import override

KEY = "hydra.sweep.dir"


class SweepDirectory(Callback):
    """Holds the sweep's directory until the sweep ends, however it does; a default name that is taken gets a suffix."""

    def __init__(self) -> None:
        self._held = ExitStack()

    def __reduce__(self) -> tuple[type[SweepDirectory], tuple[()]]:
        return type(self), ()  # a launcher hands callbacks to the processes of its jobs, which hold nothing

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        directory = Path(config.hydra.sweep.dir)
        with command.mistakes_in_a_line():
            default = command.is_default(config.hydra.sweep)
            command.at_end(partial(command.clear_away, directory if default else None))
            command.at_end(self._held.close)  # a sweep that breaks off has no end that callbacks hear of
            if not default:
                self._held.enter_context(run_lock.hold(directory, KEY))
                return
            place = self._held.enter_context(run_lock.hold_unused(directory, KEY))
        if place != directory:
            with read_write(config.hydra), open_dict(config.hydra):
                config.hydra.sweep.dir = str(place)
                config.hydra.overrides.hydra.append(override(KEY, place))  # of which the jobs' configs are composed

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        self._held.close()
