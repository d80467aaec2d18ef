"""What must hold of a config."""

from __future__ import annotations

from collections.abc import Iterable

from mnist_seq.errors import UserError


def check(condition: bool, message: str) -> None:
    """Refuse a config whose law does not hold.

    Args:
        law: a line that names the key, its value and the way out.

    Raises:
        ValueError: it does not hold.
    """
    if not condition:
        raise UserError(message)


def check_choice(key: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of a closed set.

    Raises:
        ValueError: it is not.
    """
    choices = list(choices)
    check(value in choices, f"{key}={value} is unknown: choose from {', '.join(choices)}")


def check_trust(trust: object) -> None:
    """Refuse what names no code.

    Raises:
        ValueError: neither true, false or null, nor a module.
    """
    named = isinstance(trust, str) and all(part.isidentifier() for part in trust.split("."))
    check(trust is None or isinstance(trust, bool) or named, f"trust={trust} must be true, false or a module's name")
