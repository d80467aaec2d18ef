"""Whole commands in processes of their own, forked from one that has imported what is heavy: a second each, not ten."""

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
    """`python -m module arguments` in a directory and with more environment: what it said, by stdout and stderr.

    Raises:
        AssertionError: it ended with another exit code.
    """
    with TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("out", "err")]
        process = _CONTEXT.Process(target=_become, args=(cwd, module, arguments, extra, said))
        process.start()
        process.join(300)
        if process.is_alive():
            process.kill()
            process.join()
        out, err = (path.read_text() if path.exists() else "" for path in said)
        assert process.exitcode == code, out + err
    return out, err


def _become(cwd: Path, module: str, arguments: tuple[str, ...], extra: dict[str, str], said: list[Path]) -> None:
    os.chdir(cwd)
    os.environ.update(extra)
    for stream, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
