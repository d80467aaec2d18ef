"""The door of every Hydra command: compose a config, run, and turn a user's mistake into one line."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from mnist_seq.config.config_store import CONFIG_DIR, register_schemas
from mnist_seq.config.migrations import check_presets, version_1_overrides
from mnist_seq.errors import Interrupted, UserError
from mnist_seq.override_shorthands import expand_shorthands, make_paths_absolute
from mnist_seq.run_dir import FAILURE_FILE, Run

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

_PLUGIN_PATH = str(Path(__file__).parent / "sweeps" / "plugins")
_cleanup = contextlib.ExitStack()
Job = Callable[["DictConfig", Path], None]
"""What a command does with its composed config and its output directory."""


def run_command(config_name: str, job: Job, has_run_dir: bool = False) -> None:
    """Run a command: Hydra reads the command line, and `job` gets the config.

    Args:
        writes: the command needs a directory of its own.
    """
    from mnist_seq.config import hydra_compat

    with escape_unencodable(), report_errors():
        given = expand_shorthands(config_name, sys.argv[1:])
        for folder in _preset_dirs(given):
            check_presets(config_name, folder)
        if has_run_dir:
            _check_output_writable(given)
        _check_sweep_finite(given)
        with process_setup([sys.argv[0], *given]), _cleanup:
            setup_hydra()
            hydra_compat.hydra_main(config_path=str(CONFIG_DIR), config_name=config_name)(
                JobWrapper(job, has_run_dir)
            )()


@contextlib.contextmanager
def process_setup(argv: list[str]) -> Iterator[None]:
    """What a command sets for its process: its command line, where Hydra finds our launcher, and a log on stderr.

    Python code that calls a `main()` gets all of it back.
    """
    logger = logging.getLogger("mnist_seq")
    before = sys.argv, sys.path, logger.level, logger.handlers
    sys.argv, sys.path, logger.handlers = argv, [*sys.path, _PLUGIN_PATH], [logging.StreamHandler()]
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        sys.argv, sys.path, level, logger.handlers = before
        logger.setLevel(level)


@dataclass(frozen=True)
class JobWrapper:
    """What Hydra calls with the config of a job; a launcher may pickle it, to call it in another process."""

    job: Job
    has_run_dir: bool

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        from mnist_seq.config.sweep_syntax import require_multirun

        hydra = HydraConfig.get()
        directory = Path(hydra.runtime.output_dir)
        if self.has_run_dir:
            make_paths_absolute(cfg, Path(hydra.runtime.cwd))
        else:  # nothing is written into a directory of its own, and so hydra.job.chdir means nothing
            os.chdir(hydra.runtime.cwd)
        one_of_many = isolate_job_failure(directory) if is_multirun() and self.has_run_dir else contextlib.nullcontext()
        with escape_unencodable(), report_errors(directory), one_of_many:
            require_multirun(hydra.sweeper.get("params"), list(hydra.overrides.task))
            self.job(cfg, directory)


class ComposedConfig(NamedTuple):
    """A config, and where its run goes."""

    config: DictConfig
    run_dir: Path
    default_dir: bool
    """The directory has the default name, which others may have too."""


def compose(config_name: str, overrides: list[str], single_run: bool = False) -> ComposedConfig:
    """The same config from Python, and the directory that its run would use.

    Args:
        one_run: it is to be run as it is, so that it must not be a sweep.

    Raises:
        UserError: an unknown key or preset, a value of the wrong type, or a sweep.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf, open_dict
    from omegaconf.errors import OmegaConfBaseException

    from mnist_seq.config import hydra_compat
    from mnist_seq.config.sweep_syntax import require_multirun

    setup_hydra()
    try:
        with hydra_compat.initialize_config_dir(CONFIG_DIR):
            cfg = hydra.compose(config_name, expand_shorthands(config_name, overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as problem:
        why = f" ({str(problem.__cause__).partition(chr(10))[0]})" if problem.__cause__ else ""
        raise UserError(_one_line(problem) + why) from problem
    if single_run:
        require_multirun(OmegaConf.select(cfg, "hydra.sweeper.params"), overrides)
    directory, unnamed = Path(OmegaConf.select(cfg, "hydra.run.dir")), is_default_dir(cfg.hydra.run)
    with open_dict(cfg):
        del cfg["hydra"]
    make_paths_absolute(cfg, Path.cwd())
    return ComposedConfig(cfg, directory, unnamed)


def is_multirun() -> bool:
    """Whether this is a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN


def to_dataclass(cfg: DictConfig, schema: type[T]) -> T:
    """The one door from OmegaConf to dataclasses.

    Raises:
        UserError: a broken law, or a value that is missing or cannot be interpolated.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as problem:
        raise UserError(_one_line(problem)) from problem
    assert isinstance(config, schema)
    return config


def setup_hydra() -> None:
    """Show Hydra our schemas, and how a run's directory is named."""
    from mnist_seq.config import hydra_compat

    register_schemas()
    hydra_compat.register_resolver("mnist_seq.run_directory", _run_dir, use_cache=True)
    hydra_compat.register_resolver("mnist_seq.job_dir", _job_dir)


def _preset_dirs(arguments: list[str]) -> list[Path]:
    """Folders of the user's own presets: `--config-dir DIR`."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    given = [value for flag, value in pairs if flag in ("--config-dir", "-cd")]
    given += [it.partition("=")[2] for it in arguments if it.startswith("--config-dir=")]
    return [Path(folder) for folder in given if Path(folder).is_dir()]


def is_default_dir(directory: DictConfig) -> bool:
    """Whether `hydra.run` or `hydra.sweep` leaves its `dir` to us."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_container(directory, resolve=False)["dir"]).startswith("${mnist_seq.run_directory:")  # type: ignore[index, call-overload]


def _run_dir(resume: str | None) -> str:
    for place in [Path(resume), Path(resume).parent.parent] if resume else []:  # a run, or its last.ckpt
        if Run(place).exists:
            return str(place)
    return datetime.now().strftime("outputs/%Y-%m-%d/%H-%M-%S")


def _job_dir(sweep_dir: str, overrides: Sequence[str]) -> str:
    """The directory of a job of a multirun, in the sweep's; one that version 1 made, where it is there."""
    before = _job_name(version_1_overrides(list(overrides)))
    return before if Path(sweep_dir, before).is_dir() else _job_name(overrides)


def _job_name(overrides: Sequence[str]) -> str:
    """The directory of a job of a multirun: what is asked of it as far as that is short, and a hash of all of it.

    The same job has the same directory, and so a sweep that is started again goes on; no two jobs share one.
    """
    asked = [override.lstrip("+~").partition("=") for override in overrides]
    words = "_".join(re.sub(r"[^\w.+-]+", "-", f"{key.split('.')[-1]}-{value}") for key, _, value in asked)
    return f"{words[-160:].lstrip('_-')}_{overrides_hash(overrides)}"


def overrides_hash(overrides: Sequence[str]) -> str:
    """Tells sets of overrides apart, whatever their order."""
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]


def _check_output_writable(arguments: list[str]) -> None:
    """Hydra makes a run's directory before we are asked, and shows a traceback where it cannot."""
    given = [it.partition("=")[2] for it in arguments if it.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    path = Path(given[-1].strip("'\"") if given else "outputs").absolute()
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"hydra.run.dir={path} cannot be made: {there} is not a writable directory; choose another")


def _check_sweep_finite(arguments: list[str]) -> None:
    """Hydra's own sweeper shows a traceback for a sweep that it cannot run; others may know more of them."""
    from mnist_seq.config.sweep_syntax import require_finite_sweep

    multirun = not {"-m", "--multirun"}.isdisjoint(arguments)
    if multirun and not any(it.startswith("hydra/sweeper=") for it in arguments):
        require_finite_sweep([it for it in arguments if "=" in it and not it.startswith("-")])


@contextlib.contextmanager
def report_errors(directory: Path | None = None) -> Iterator[None]:
    """A UserError ends in its message and exit code 1, a signal in 128 + its number; all else keeps its traceback.

    HYDRA_FULL_ERROR=1 shows the traceback of a UserError too.

    Args:
        directory: where Hydra wants the output of what is run within.
    """
    try:
        yield
    except KeyboardInterrupt:
        remove_empty_dirs(directory)
        exit_with_message("interrupted", 128 + signal.SIGINT)
    except Interrupted as stopped:
        remove_empty_dirs(directory)
        exit_with_message(_one_line(stopped), 128 + stopped.signum)
    except UserError as problem:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        remove_empty_dirs(directory)
        exit_with_message(_one_line(problem), 1)


@contextlib.contextmanager
def escape_unencodable() -> Iterator[None]:
    """What the encoding of stdout and stderr lacks is printed as an escape, such as \\u2014, and ends nothing."""
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
    """End the process with a line on stderr."""
    print(f"mnist_seq: {message}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def isolate_job_failure(directory: Path) -> Iterator[None]:
    """What a job of a sweep fails of is told in a line and kept in its directory; a signal ends all of the sweep."""
    failure = directory / FAILURE_FILE
    failure.unlink(missing_ok=True)
    try:
        yield
    except Interrupted:
        raise
    except Exception as problem:
        told = f"{_one_line(problem)}\n\n{traceback.format_exc()}"
        failure.write_text(told, encoding="utf-8", errors="backslashreplace")
        print(f"mnist_seq: {directory} failed: {_one_line(problem)}", file=sys.stderr)
    finally:
        gc.collect()  # a trainer and its module hold each other


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


def register_cleanup(call: Callable[[], None]) -> None:
    """Have something called when this process's command ends, however it does; the last that asked first."""
    _cleanup.callback(call)


def remove_empty_dirs(directory: Path | None) -> None:
    """Remove what Hydra made under outputs/ for a run that never began, as far as it is empty."""
    if directory and directory.parts[-3:-2] == ("outputs",):
        for folder in (directory, *directory.parents[:2]):
            with contextlib.suppress(OSError):
                folder.rmdir()
