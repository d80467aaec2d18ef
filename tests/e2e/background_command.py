"""Whole commands in processes started from nothing, which go on by themselves: to be signalled, killed, waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


def start(cwd: Path, *arguments: str, group: bool = False, **extra: str) -> subprocess.Popen[str]:
    """A command that runs by itself.

    Args:
        group: with its children it is a process group of its own.
    """
    command, pipe = [sys.executable, "-m", *arguments], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, env=environment(**extra), text=True, stdout=pipe, stderr=pipe, start_new_session=group
    )
