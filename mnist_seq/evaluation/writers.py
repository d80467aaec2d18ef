"""Writers of images on disk: images of one writer are not independent, so intervals are computed by writer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mnist_seq.data.labels import Label

MIN_WRITERS = 10
"""Fewer writers say too little about others for an interval."""


def find_writers(labels: Sequence[Label], column: str) -> Tensor | None:
    """Number the writers of images; B, int64. None if they are not known of each image, or below `MIN_WRITERS`."""
    writers = [label.columns.get(column) for label in labels]
    numbers = {writer: number for number, writer in enumerate(dict.fromkeys(map(str, writers)))}
    if None in writers or len(numbers) < MIN_WRITERS:
        return None
    return torch.tensor([numbers[str(writer)] for writer in writers])


def describe_intervals(labels: Sequence[Label], column: str) -> str:
    """Describe in one line what the intervals of an evaluation on images take to be independent."""
    writers = {str(label.columns[column]) for label in labels if column in label.columns}
    if find_writers(labels, column) is not None:
        return f"intervals by {column}: {len(writers)} of them are taken to be independent"
    why = f"{len(writers)} of {MIN_WRITERS} values needed in column {column}" if writers else f"no column {column}"
    return f"intervals by image, as if each had another {column} ({why})"
