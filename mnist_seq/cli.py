"""The frame of every Hydra command: run it, and report a user's mistake in one line."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mnist_seq.compose_config import compose, setup_hydra, to_dataclass
from mnist_seq.config import hydra_compat
from mnist_seq.config.composition_errors import explain
from mnist_seq.config.config_store import CONFIG_DIR
from mnist_seq.config.override_syntax import format_value
from mnist_seq.config.sweep_syntax import require_finite_sweep, require_multirun
from mnist_seq.config.user_presets import check_presets, preset_dirs
from mnist_seq.cpu_cores import respect_quota
from mnist_seq.errors import Interrupted, UserError, one_line
from mnist_seq.malloc import tune_malloc
from mnist_seq.override_shorthands import expand_shorthands, make_paths_absolute
from mnist_seq.run_dir import FAILURE_FILE

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PLUGIN_PATH = str(Path(__file__).parent / "sweeps" / "plugins")
_FULL_ERROR, _FULL_ERROR_IS_OURS = "HYDRA_FULL_ERROR", "MNIST_SEQ_FULL_ERROR_IS_OURS"
_cleanup = contextlib.ExitStack()
Job = Callable[[Any, Path], None]
"""The body of a command: takes its config, as a dataclass, and the output directory."""


def run_command(command: str, job: Job, has_run_dir: bool = False, keep_memory: bool = True) -> None:
    """Run a command: Hydra reads the command line and calls `job` with the config.

    Args:
        command: a name in `config_store.COMMANDS`.
        has_run_dir: the command writes into a directory of its own, `hydra.run.dir`.
        keep_memory: set glibc to keep freed memory for reuse.
    """
    respect_quota()
    with escape_unencodable(), report_errors():
        arguments = expand_shorthands(command, sys.argv[1:])
        check_presets(command, arguments)
        if not {"--help", "-h"}.isdisjoint(arguments):
            print(_help(command, arguments))
            return
        if has_run_dir:
            _check_output_writable(arguments)
        _check_sweep_finite(arguments)
        with process_setup([sys.argv[0], *arguments]), _cleanup:
            setup_hydra()
            with _composition_errors() as full_error:
                hydra_compat.hydra_main(config_path=str(CONFIG_DIR), config_name=command)(
                    JobWrapper(job, has_run_dir, keep_memory, full_error)
                )()


def _help(command: str, arguments: list[str]) -> str:
    """Hydra's own help takes seconds, lists schemas among the groups and has no place for docstrings."""
    from mnist_seq.config.reference import help_text

    folders = preset_dirs(arguments)
    overrides = [it for it in arguments if "=" in it and not it.startswith(("-", "hydra.searchpath="))]
    search_path = ",".join(format_value(f"file://{folder.absolute()}") for folder in folders)
    return help_text(command, compose(command, [*overrides, f"hydra.searchpath=[{search_path}]"]).config, folders)


@contextlib.contextmanager
def process_setup(argv: list[str]) -> Iterator[None]:
    """Set this process's argv, the path of our Hydra plugins and a log on stderr; restore all of it at exit."""
    logger = logging.getLogger("mnist_seq")
    before = sys.argv, sys.path, logger.level, logger.handlers
    sys.argv, sys.path, logger.handlers = argv, [*sys.path, _PLUGIN_PATH], [logging.StreamHandler()]
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        sys.argv, sys.path, level, logger.handlers = before
        logger.setLevel(level)


@contextlib.contextmanager
def _composition_errors() -> Iterator[str | None]:
    """Report in one line what Hydra cannot compose; its own reports take many, unless HYDRA_FULL_ERROR makes it raise.

    Yields what the user has set this variable to, for jobs.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    full_error = os.environ.get(_FULL_ERROR)
    _let_hydra_raise()
    try:
        yield full_error
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    finally:
        _set_full_error(full_error)


def _let_hydra_raise() -> None:
    if _FULL_ERROR not in os.environ:
        os.environ[_FULL_ERROR] = os.environ[_FULL_ERROR_IS_OURS] = "1"


def _set_full_error(value: str | None) -> None:
    os.environ.pop(_FULL_ERROR_IS_OURS, None)
    if value is None:
        os.environ.pop(_FULL_ERROR, None)
    else:
        os.environ[_FULL_ERROR] = value


@dataclass(frozen=True)
class JobWrapper:
    """The function that Hydra calls with the config of a job. Launchers pickle it to call it in another process."""

    job: Job
    has_run_dir: bool
    keep_memory: bool = True
    full_error: str | None = None
    """The user's HYDRA_FULL_ERROR, which holds while the job runs."""

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        _set_full_error(self.full_error)

        hydra = HydraConfig.get()
        run_dir = Path(hydra.runtime.output_dir)
        if self.has_run_dir:
            make_paths_absolute(cfg, Path(hydra.runtime.cwd))
        else:  # hydra.job.chdir has no effect on a command without a directory
            os.chdir(hydra.runtime.cwd)
        isolation = isolate_job_failure(run_dir) if is_multirun() and self.has_run_dir else contextlib.nullcontext()
        with escape_unencodable(), report_errors(run_dir), isolation:
            require_multirun(hydra.sweeper.get("params"), list(hydra.overrides.task))
            if self.keep_memory:
                tune_malloc()
            self.job(to_dataclass(cfg, object), run_dir)
        _let_hydra_raise()  # while the next job of a sweep is composed


def is_multirun() -> bool:
    """Whether this process runs a job of a sweep (`-m`)."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN


def _check_output_writable(arguments: list[str]) -> None:
    """Hydra creates the run directory before our code runs, and shows a traceback where it cannot."""
    dirs = [it.partition("=")[2] for it in arguments if it.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    path = Path(dirs[-1].strip("'\"") if dirs else "outputs").absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"hydra.run.dir={path} cannot be created: {existing} is not a writable directory; choose another"
        )


def _check_sweep_finite(arguments: list[str]) -> None:
    """Hydra's own sweeper shows a traceback for sweeps that it cannot run; other sweepers may accept them."""
    multirun = not {"-m", "--multirun"}.isdisjoint(arguments)
    if multirun and not any(it.startswith("hydra/sweeper=") for it in arguments):
        require_finite_sweep([it for it in arguments if "=" in it and not it.startswith("-")])


@contextlib.contextmanager
def report_errors(run_dir: Path | None = None) -> Iterator[None]:
    """End a UserError in one line and exit code 1, a signal in 128 + its number; other exceptions keep their traceback.

    HYDRA_FULL_ERROR=1 shows the traceback of a UserError too.

    Args:
        run_dir: Hydra's output directory; removed if it is still empty.
    """
    try:
        yield
        return
    except KeyboardInterrupt:
        message, code = "interrupted", 128 + signal.SIGINT
    except Interrupted as interrupt:
        message, code = one_line(interrupt), 128 + interrupt.signum
    except UserError as error:
        if os.environ.get(_FULL_ERROR) and _FULL_ERROR_IS_OURS not in os.environ:
            raise
        message, code = one_line(error), 1
    remove_empty_dirs(run_dir)
    exit_with_message(message, code)


@contextlib.contextmanager
def escape_unencodable() -> Iterator[None]:
    """Print characters that stdout or stderr cannot encode as escapes, such as \\u2014, instead of failing."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)


def exit_with_message(message: str, code: int) -> NoReturn:
    """End the process with one line on stderr."""
    print(f"mnist_seq: {message}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def isolate_job_failure(run_dir: Path) -> Iterator[None]:
    """Report the failure of a sweep's job in one line and in its directory, so that the others run; signals pass."""
    failure_file = run_dir / FAILURE_FILE
    failure_file.unlink(missing_ok=True)
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:
        report = f"{one_line(error)}\n\n{traceback.format_exc()}"
        with contextlib.suppress(OSError):  # a full disk may be the reason of the failure
            failure_file.write_text(report, encoding="utf-8", errors="backslashreplace")
        print(f"mnist_seq: {run_dir} failed: {one_line(error)}", file=sys.stderr)
    finally:
        gc.collect()  # a trainer and its module reference each other


def register_cleanup(callback: Callable[[], None]) -> None:
    """Call a function when this process's command ends, in any way; the last registered first."""
    _cleanup.callback(callback)


def remove_empty_dirs(run_dir: Path | None) -> None:
    """Remove the directories that Hydra made under outputs/ for a run that never started, where empty."""
    if run_dir and run_dir.parts[-3:-2] == ("outputs",):
        for path in (run_dir, *run_dir.parents[:2]):
            with contextlib.suppress(OSError):
                path.rmdir()
