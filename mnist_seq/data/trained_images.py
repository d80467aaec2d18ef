"""Images that a model was trained on. Its card keeps digests of them, so that no model is evaluated on them by mistake.

A digest depends on the bytes of the file alone: images may be moved, renamed and split differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from mnist_seq.data.labels import Label

_DIGEST_BYTES = 6
"""Enough for a million images and a million others: one pair in 280 such folders has the same digest by chance."""


def join_digests(labels: Sequence[Label], *others: str) -> str:
    """Return the digests of images, and those of other texts of this form, in hexadecimal, separated by spaces."""
    digests = {_digest(label.image) for label in labels}
    return " ".join(sorted(digests.union(*(other.split() for other in others))))


def select_trained(labels: Sequence[Label], digests: str) -> list[Label]:
    """Return the labels whose images have one of these digests.

    Args:
        digests: as `join_digests` returns them.
    """
    known = set(digests.split())
    return [label for label in labels if _digest(label.image) in known] if known else []


def hash_labels(labels: Sequence[Label]) -> str:
    """Hash the names and digits of images, in order."""
    return hashlib.blake2b(repr([(label.name, label.digits) for label in labels]).encode(errors="replace")).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=_DIGEST_BYTES).hexdigest()
