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
    """Run the command that is named first; without one, list them."""
    import mnist_seq

    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        # In the module's own process: it starts others by what it was started with, as a run on several devices does.
        command = [sys.executable, "-m", f"mnist_seq.{name}", *arguments]
        if os.name == "nt":  # where exec would return to the shell at once
            return subprocess.call(command)
        os.execv(command[0], command)
    if name in ("-h", "--help"):
        print(_usage())
        return 0
    if name == "--version":
        print(f"mnist_seq {mnist_seq.__version__}")
        return 0
    meant = get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {meant[0]}?" if meant else "`mnist-seq` alone lists them"
    print(f"mnist_seq: {name} is no command: {hint}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = ["usage: mnist-seq COMMAND [ARGUMENT ...], or python -m mnist_seq.COMMAND [ARGUMENT ...]", ""]
    lines += [f"  {name:<12}{_summary(name)}" for name in COMMANDS]
    return "\n".join([*lines, "", "`mnist-seq COMMAND --help` says what it takes."])


def _summary(name: str) -> str:
    """The first line of a command's docstring, up to its command line; nothing is imported for it."""
    text = ast.get_docstring(ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].partition(": `")[0].rstrip(".")


if __name__ == "__main__":
    sys.exit(main())
