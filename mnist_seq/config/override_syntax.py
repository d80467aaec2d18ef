"""Commands that are printed for the user to paste: quoted for the shell, and for Hydra's grammar of overrides."""

from __future__ import annotations

import re
import shlex

_UNQUOTED = re.compile(r"[/.]*[A-Za-z_][\w/.:@+-]*", re.ASCII)
"""Values that Hydra reads as they are; what begins with a letter or a slash is no number."""
_KEYWORDS = ("null", "true", "false", "inf", "nan")
"""That Hydra does not read as text."""


def format_command(module: str, **overrides: object) -> str:
    """A command of this package, as it can be pasted into a shell.

    Args:
        module: such as "train".
        overrides: of top-level keys, in order.
    """
    words = [format_override(key, value) for key, value in overrides.items()]
    return shlex.join(["python", "-m", f"mnist_seq.{module}", *words])


def shell_override(key: str, value: object) -> str:
    """`key=value` as it can be pasted into a shell, behind a command."""
    return shlex.quote(format_override(key, value))


def format_override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, for a value that is text or a path."""
    text = str(value)
    if _UNQUOTED.fullmatch(text) and text.lower() not in _KEYWORDS:
        return f"{key}={text}"
    # In quotes, backslashes stand for themselves but before a quote; ${ would begin an interpolation.
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text)
    escaped = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", escaped)
    return f'{key}="{escaped}"'
