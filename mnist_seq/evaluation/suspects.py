"""Labels of images that may be wrong: the model is confident of another reading."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from mnist_seq.atomic_io import atomic_path
from mnist_seq.evaluation.eval_result import EvalResult
from mnist_seq.vocabulary import decode

SUSPECTS_FILE = "suspects.csv"
MIN_CONFIDENCE = 0.5
"""Least confidence of a reading that makes another label suspect."""


class Suspect(NamedTuple):
    """An image whose label may be wrong."""

    file: str
    """Path relative to the folder."""
    label: str
    reading: str
    confidence: float


def find_suspects(result: EvalResult) -> list[Suspect]:
    """Find the images whose reading differs from their label with confidence, the most confident first.

    The model must not have been trained on these images: it would have learned their labels.
    """
    predictions, output = result.predictions, result.predictions.output
    assert predictions.files is not None, "images on disk"
    labels, readings = (["".join(map(str, it)) for it in decode(side.digits)] for side in (predictions, output))
    suspects = [
        Suspect(predictions.files[index], labels[index], readings[index], round(float(output.confidence[index]), 4))
        for index in result.error_ids.tolist()
        if output.confidence[index] >= MIN_CONFIDENCE
    ]
    return sorted(suspects, key=lambda suspect: -suspect.confidence)


def save_suspects(suspects: list[Suspect], path: Path) -> None:
    """Write a row per suspect."""
    with (
        atomic_path(path) as temp_path,
        temp_path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(Suspect._fields)
        writer.writerows(suspects)
