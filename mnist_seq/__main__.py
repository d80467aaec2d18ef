"""All commands in one: `mnist-seq train model=tiny` is `python -m mnist_seq.train model=tiny`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path

from mnist_seq.config.commands import COMMANDS


def main() -> int:
    """Run the command that is the first argument; without one, list all."""
    import mnist_seq

    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        # As a process of its own, since a run on several devices starts others with the same argv.
        command = [sys.executable, "-m", f"mnist_seq.{name}", *arguments]
        if os.name == "nt":  # exec would return to the shell at once
            return subprocess.call(command)
        os.execv(command[0], command)
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"mnist_seq {mnist_seq.__version__}")
        return 0
    matches = get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {matches[0]}?" if matches else "`mnist-seq --help` lists them"
    print(f"mnist_seq: {name} is not a command: {hint}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = ["usage: mnist-seq COMMAND [ARGUMENT ...], or python -m mnist_seq.COMMAND [ARGUMENT ...]", ""]
    lines += [f"  {name:<12}{_summary(name)}" for name in COMMANDS]
    return "\n".join([*lines, "", "`mnist-seq COMMAND --help` lists its arguments."])


def _summary(name: str) -> str:
    """The first line of a command's docstring, up to its command line, without importing the command."""
    text = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].partition(": `")[0].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
