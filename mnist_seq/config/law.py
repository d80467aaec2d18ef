"""What must hold of a config."""

from __future__ import annotations

from collections.abc import Iterable

from mnist_seq.errors import UserError


def require(holds: bool, law: str) -> None:
    """Refuse a config whose law does not hold.

    Args:
        law: a line that names the key, its value and the way out.

    Raises:
        ValueError: it does not hold.
    """
    if not holds:
        raise UserError(law)


def require_known(key: str, value: object, known: Iterable[str]) -> None:
    """Refuse a value that is not one of a closed set.

    Raises:
        ValueError: it is not.
    """
    known = list(known)
    require(value in known, f"{key}={value} is unknown: choose from {', '.join(known)}")
