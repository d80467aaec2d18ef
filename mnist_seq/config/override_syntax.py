"""Overrides: taken apart, and written for Hydra's grammar and for the shell."""

from __future__ import annotations

import re
import shlex

_UNQUOTED = re.compile(r"[/.]*[A-Za-z_][\w/.:@+-]*", re.ASCII)
"""Values that need no quotes: what begins with a letter or a slash is not a number."""
_KEYWORDS = ("null", "true", "false", "inf", "nan")
"""Words that Hydra does not read as text."""


def split_override(override: str) -> tuple[str, str, str]:
    """The prefix (+, ++, ~ or none) of an override, its key, and `=` with its value where there is one."""
    stripped = override.lstrip("+~")
    key, equals, value = stripped.partition("=")
    return override.removesuffix(stripped), key, equals + value


def format_command(module: str, **overrides: object) -> str:
    """A command of this package, ready to be pasted into a shell.

    Args:
        module: the command, such as "train".
        overrides: top-level keys, in order.
    """
    words = [format_override(key, value) for key, value in overrides.items()]
    return shlex.join(["python", "-m", f"mnist_seq.{module}", *words])


def shell_override(key: str, value: object) -> str:
    """`key=value`, ready to be pasted into a shell behind a command."""
    return shlex.quote(format_override(key, value))


def format_override(key: str, value: object) -> str:
    """`key=value` in Hydra's grammar, for a value that is text or a path."""
    return f"{key}={format_value(value)}"


def format_value(value: object) -> str:
    """A text or path in Hydra's grammar, in quotes where it needs them."""
    text = str(value)
    if _UNQUOTED.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    # In quotes, a backslash needs escaping only before a quote or ${, which would start an interpolation.
    escaped = re.sub(r'(\\*)("|$)', lambda match: 2 * match[1] + ('\\"' if match[2] else ""), text)
    escaped = re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + r"\${", escaped)
    return f'"{escaped}"'
