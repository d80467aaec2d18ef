"""Checks that configs make of their values."""

from __future__ import annotations

from collections.abc import Iterable

from mnist_seq.errors import UserError

DEVICES = ("auto", "cpu", "cuda", "mps")


def check(condition: bool, message: str) -> None:
    """Refuse an invalid config.

    Args:
        message: one line that names the key, its value and the way out.

    Raises:
        UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(message)


def check_choice(key: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is not one of a closed set.

    Raises:
        UserError: names the choices.
    """
    choices = list(choices)
    check(value in choices, f"{key}={value} is unknown: choose from {', '.join(choices)}")


def check_trust(trust: object) -> None:
    """Refuse a value of `trust` that cannot name code.

    Raises:
        UserError: it is neither true, false or null, nor the name of a module.
    """
    is_module = isinstance(trust, str) and all(part.isidentifier() for part in trust.split("."))
    check(
        trust is None or isinstance(trust, bool) or is_module,
        f"trust={trust} must be true, false or the name of a module",
    )
