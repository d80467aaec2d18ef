"""Commands in processes forked from a server with the heavy imports: one second each instead of ten."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from mnist_seq.sweeps import workers

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(workers.PRELOAD_MODULES)


def run(cwd: Path, module: str, *arguments: str, code: int = 0, **extra: str) -> tuple[str, str]:
    """Run `python -m module arguments` in a directory and return its stdout and stderr.

    Args:
        code: the expected exit code.
        extra: environment variables.

    Raises:
        AssertionError: the exit code is another one.
    """
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("out", "err")]
        process = _CONTEXT.Process(target=_run_module, args=(cwd, module, arguments, extra, paths))
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            process.join()
        out, err = (path.read_text() if path.exists() else "" for path in paths)
        assert process.exitcode == code, out + err
    return out, err


def _run_module(cwd: Path, module: str, arguments: tuple[str, ...], extra: dict[str, str], paths: list[Path]) -> None:
    os.chdir(cwd)
    os.environ.update(extra)
    for descriptor, path in zip((1, 2), paths, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
