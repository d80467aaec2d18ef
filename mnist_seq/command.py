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

from mnist_seq.errors import Interrupted, UserError
from mnist_seq.overrides import make_absolute, spelled_out
from mnist_seq.presets import CONFIGS, register
from mnist_seq.run import FAILURE, Run

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

_PLUGINS = str(Path(__file__).parent / "sweeps" / "plugins")
_at_end = contextlib.ExitStack()
Job = Callable[["DictConfig", Path], None]
"""What a command does with its composed config and its output directory."""


def run(config_name: str, job: Job, writes: bool = False, aliases: dict[str, str] | None = None) -> None:
    """Run a command: Hydra reads the command line, and `job` gets the config.

    Args:
        writes: the command needs a directory of its own.
        aliases: keys of this command line that mean another.
    """
    from mnist_seq import compat

    with unencodable_escaped(), mistakes_in_a_line():
        given = spelled_out([_renamed(argument, aliases or {}) for argument in sys.argv[1:]])
        if writes:
            _refuse_unwritable(given)
        _refuse_uncountable(given)
        with own_process([sys.argv[0], *given]), _at_end:
            prepare()
            compat.hydra_main(config_path=str(CONFIGS), config_name=config_name)(Task(job, writes))()


@contextlib.contextmanager
def own_process(argv: list[str]) -> Iterator[None]:
    """What a command sets for its process: its command line, where Hydra finds our launcher, and a log on stderr.

    Python code that calls a `main()` gets all of it back.
    """
    logger = logging.getLogger("mnist_seq")
    before = sys.argv, sys.path, logger.level, logger.handlers
    sys.argv, sys.path, logger.handlers = argv, [*sys.path, _PLUGINS], [logging.StreamHandler()]
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        sys.argv, sys.path, level, logger.handlers = before
        logger.setLevel(level)


@dataclass(frozen=True)
class Task:
    """What Hydra calls with the config of a job; a launcher may pickle it, to call it in another process."""

    job: Job
    writes: bool

    def __call__(self, cfg: DictConfig) -> None:
        from hydra.core.hydra_config import HydraConfig

        from mnist_seq.sweeps.syntax import require_swept

        hydra = HydraConfig.get()
        directory = Path(hydra.runtime.output_dir)
        if self.writes:
            make_absolute(cfg, Path(hydra.runtime.cwd))
        else:  # nothing is written into a directory of its own, and so hydra.job.chdir means nothing
            os.chdir(hydra.runtime.cwd)
        one_of_many = others_go_on(directory) if sweeping() and self.writes else contextlib.nullcontext()
        with unencodable_escaped(), mistakes_in_a_line(directory), one_of_many:
            require_swept(hydra.sweeper.get("params"), list(hydra.overrides.task))
            self.job(cfg, directory)


class Composed(NamedTuple):
    """A config, and where its run goes."""

    config: DictConfig
    directory: Path
    unnamed: bool
    """The directory has the default name, which others may have too."""


def compose(config_name: str, overrides: list[str], one_run: bool = False) -> Composed:
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

    from mnist_seq import compat
    from mnist_seq.sweeps.syntax import require_swept

    prepare()
    try:
        with compat.initialized(CONFIGS):
            cfg = hydra.compose(config_name, spelled_out(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as problem:
        why = f" ({str(problem.__cause__).partition(chr(10))[0]})" if problem.__cause__ else ""
        raise UserError(_said(problem) + why) from problem
    if one_run:
        require_swept(OmegaConf.select(cfg, "hydra.sweeper.params"), overrides)
    directory, unnamed = Path(OmegaConf.select(cfg, "hydra.run.dir")), is_default(cfg.hydra.run)
    with open_dict(cfg):
        del cfg["hydra"]
    make_absolute(cfg, Path.cwd())
    return Composed(cfg, directory, unnamed)


def sweeping() -> bool:
    """Whether this is a job of a multirun."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.get().mode == RunMode.MULTIRUN


def typed(cfg: DictConfig, schema: type[T]) -> T:
    """The one door from OmegaConf to dataclasses.

    Raises:
        UserError: a broken law, or a value that is missing or cannot be interpolated.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as problem:
        raise UserError(_said(problem)) from problem
    assert isinstance(config, schema)
    return config


def prepare() -> None:
    """Show Hydra our schemas, and how a run's directory is named."""
    from mnist_seq import compat

    register()
    compat.register_resolver("mnist_seq.run_directory", _run_directory, use_cache=True)
    compat.register_resolver("mnist_seq.job_name", _job_name)


def _renamed(argument: str, aliases: dict[str, str]) -> str:
    key, equals, value = argument.partition("=")
    return f"{aliases.get(key, key)}{equals}{value}"


def is_default(directory: DictConfig) -> bool:
    """Whether `hydra.run` or `hydra.sweep` leaves its `dir` to us."""
    from omegaconf import OmegaConf

    return str(OmegaConf.to_container(directory, resolve=False)["dir"]).startswith("${mnist_seq.run_directory:")  # type: ignore[index, call-overload]


def _run_directory(resume: str | None) -> str:
    for place in [Path(resume), Path(resume).parent.parent] if resume else []:  # a run, or its last.ckpt
        if Run(place).exists:
            return str(place)
    return datetime.now().strftime("outputs/%Y-%m-%d/%H-%M-%S")


def _job_name(overrides: Sequence[str]) -> str:
    """The directory of a job of a multirun: what is asked of it as far as that is short, and a hash of all of it.

    The same job has the same directory, and so a sweep that is started again goes on; no two jobs share one.
    """
    asked = [override.lstrip("+~").partition("=") for override in overrides]
    words = "_".join(re.sub(r"[^\w.+-]+", "-", f"{key.split('.')[-1]}-{value}") for key, _, value in asked)
    return f"{words[-160:].lstrip('_-')}_{digest(overrides)}"


def digest(overrides: Sequence[str]) -> str:
    """Tells sets of overrides apart, whatever their order."""
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]


def _refuse_unwritable(arguments: list[str]) -> None:
    """Hydra makes a run's directory before we are asked, and shows a traceback where it cannot."""
    given = [it.partition("=")[2] for it in arguments if it.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    path = Path(given[-1].strip("'\"") if given else "outputs").absolute()
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"hydra.run.dir={path} cannot be made: {there} is not a writable directory; choose another")


def _refuse_uncountable(arguments: list[str]) -> None:
    """Hydra's own sweeper shows a traceback for a sweep that it cannot run; others may know more of them."""
    from mnist_seq.sweeps.syntax import require_countable

    multirun = not {"-m", "--multirun"}.isdisjoint(arguments)
    if multirun and not any(it.startswith("hydra/sweeper=") for it in arguments):
        require_countable([it for it in arguments if "=" in it and not it.startswith("-")])


@contextlib.contextmanager
def mistakes_in_a_line(directory: Path | None = None) -> Iterator[None]:
    """A UserError ends in its message and exit code 1, a signal in 128 + its number; all else keeps its traceback.

    HYDRA_FULL_ERROR=1 shows the traceback of a UserError too.

    Args:
        directory: where Hydra wants the output of what is run within.
    """
    try:
        yield
    except KeyboardInterrupt:
        clear_away(directory)
        leave("interrupted", 128 + signal.SIGINT)
    except Interrupted as stopped:
        clear_away(directory)
        leave(_said(stopped), 128 + stopped.signum)
    except UserError as problem:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        clear_away(directory)
        leave(_said(problem), 1)


@contextlib.contextmanager
def unencodable_escaped() -> Iterator[None]:
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


def leave(message: str, code: int) -> NoReturn:
    """End the process with a line on stderr."""
    print(f"mnist_seq: {message}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def others_go_on(directory: Path) -> Iterator[None]:
    """What a job of a sweep fails of is told in a line and kept in its directory; a signal ends all of the sweep."""
    failure = directory / FAILURE
    failure.unlink(missing_ok=True)
    try:
        yield
    except Interrupted:
        raise
    except Exception as problem:
        told = f"{_said(problem)}\n\n{traceback.format_exc()}"
        failure.write_text(told, encoding="utf-8", errors="backslashreplace")
        print(f"mnist_seq: {directory} failed: {_said(problem)}", file=sys.stderr)
    finally:
        gc.collect()  # a trainer and its module hold each other


def _said(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


def at_end(call: Callable[[], None]) -> None:
    """Have something called when this process's command ends, however it does; the last that asked first."""
    _at_end.callback(call)


def clear_away(directory: Path | None) -> None:
    """Remove what Hydra made under outputs/ for a run that never began, as far as it is empty."""
    if directory and directory.parts[-3:-2] == ("outputs",):
        for folder in (directory, *directory.parents[:2]):
            with contextlib.suppress(OSError):
                folder.rmdir()
