"""What must hold of a config."""

from __future__ import annotations


def require(holds: bool, law: str) -> None:
    """Refuse a config whose law does not hold.

    Args:
        law: a line that names the key, its value and the way out.

    Raises:
        ValueError: it does not hold.
    """
    if not holds:
        raise ValueError(law)
