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


def require_trust(trust: object) -> None:
    """Refuse what names no code.

    Raises:
        ValueError: neither true, false or null, nor a module.
    """
    named = isinstance(trust, str) and all(part.isidentifier() for part in trust.split("."))
    require(trust is None or isinstance(trust, bool) or named, f"trust={trust} must be true, false or a module's name")
