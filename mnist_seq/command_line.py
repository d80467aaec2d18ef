"""Commands that are printed for the user to paste: quoted for the shell, and for Hydra's grammar of overrides."""

from __future__ import annotations

import re
import shlex

_BARE = re.compile(r"[/.]*[A-Za-z_][\w/.:@+-]*", re.ASCII)
"""Values that Hydra reads as they are; what begins with a letter or a slash is no number."""
_WORDS = ("null", "true", "false", "inf", "nan")
"""That Hydra does not read as text."""


def command_line(module: str, **overrides: object) -> str:
    """A command of this package, as it can be pasted into a shell.

    Args:
        module: such as "train".
        overrides: of top-level keys, in order.
    """
    words = [override(key, value) for key, value in overrides.items()]
    return shlex.join(["python", "-m", f"mnist_seq.{module}", *words])


def pasted(key: str, value: object) -> str:
    """`key=value` as it can be pasted into a shell, behind a command."""
    return shlex.quote(override(key, value))


def override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, for a value that is text or a path."""
    text = str(value)
    if _BARE.fullmatch(text) and text.lower() not in _WORDS:
        return f"{key}={text}"
    # In quotes, backslashes stand for themselves but before a quote; ${ would begin an interpolation.
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text)
    escaped = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", escaped)
    return f'{key}="{escaped}"'
