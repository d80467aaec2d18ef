"""Writers of images on disk: images of one writer are not independent, so intervals are computed by writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from mnist_seq.data.labels import Label

MIN_WRITERS = 10
"""Fewer writers say too little about others for an interval."""
_MIN_EFFECTIVE = 5
"""Nor do writers of whom a few wrote most of the images: they must count for this many equally frequent ones."""


def find_writers(labels: Sequence[Label], column: str) -> Tensor | None:
    """Number the writers of images; B, int64. None if some are unknown, or too few, or too few wrote most images."""
    writers = _names(labels, column)
    numbers = {writer: number for number, writer in enumerate(dict.fromkeys(writers))}
    ids = torch.tensor([numbers[writer] for writer in writers], dtype=torch.int64)
    are_enough = len(numbers) >= MIN_WRITERS and _effective_number(writers) >= _MIN_EFFECTIVE
    return ids if are_enough and "" not in writers else None


def describe_intervals(labels: Sequence[Label], column: str) -> str:
    """Describe in one line what the intervals of an evaluation on images take to be independent."""
    writers = _names(labels, column)
    if find_writers(labels, column) is not None:
        return f"intervals are clustered by {column}: {len(set(writers))} values, treated as independent"
    if any(label.sources for label in labels):
        return "intervals are clustered by source digit"
    unknown = writers.count("")
    if unknown == len(writers):
        why = f"no column {column}"
    elif unknown:
        why = f"{unknown} of {len(writers)} images have no {column}"
    elif len(set(writers)) < MIN_WRITERS:
        why = f"{len(set(writers))} values in column {column}, but {MIN_WRITERS} are needed"
    else:
        why = f"a few values in column {column} have most of the images"
    return f"intervals treat images as independent ({why})"


def _names(labels: Sequence[Label], column: str) -> list[str]:
    """Return the writer of each image; "" where it is unknown."""
    names = (label.columns.get(column) for label in labels)
    return ["" if name is None else str(name).strip() for name in names]


def _effective_number(writers: Sequence[str]) -> float:
    """Return how many writers with as many images each would count as much (Kish 1965)."""
    return len(writers) ** 2 / sum(count**2 for count in Counter(writers).values())
