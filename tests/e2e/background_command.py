"""Commands in fresh background processes, which tests can signal, kill and wait for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**extra: str) -> dict[str, str]:
    """The environment of a command that imports this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


def start(cwd: Path, *arguments: str, group: bool = False, **extra: str) -> subprocess.Popen[str]:
    """Start `python -m arguments` in a directory.

    Args:
        group: make it the leader of a new process group, so that its children can be killed with it.
        extra: environment variables.
    """
    command, pipe = [sys.executable, "-m", *arguments], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, env=environment(**extra), text=True, stdout=pipe, stderr=pipe, start_new_session=group
    )
