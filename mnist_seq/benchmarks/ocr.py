"""Suite ocr: our reader and other OCR on a folder of labelled pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from mnist_seq.benchmarks import ocr_readers
from mnist_seq.benchmarks.ocr_readers import OcrReader
from mnist_seq.benchmarks.timer import time_interleaved
from mnist_seq.config.validation import check
from mnist_seq.data.image_io import load_rgba
from mnist_seq.data.labels import Label, read_labels
from mnist_seq.data.preprocess import composite
from mnist_seq.evaluation.intervals import Proportion, SharedSources, proportion_with_interval
from mnist_seq.training.torch_settings import limit_threads


class OcrResult(NamedTuple):
    """How one reader reads the pictures."""

    reader: str
    exact_match: Proportion
    """Pictures of which all digits, their order and their number are right."""
    milliseconds: tuple[float, float, float]
    """Of a picture: median, 5th and 95th percentile over the pictures."""
    megabytes: float
    """Size of the model files, 10^6 bytes."""
    digits: list[list[int]]
    """What was read in each picture."""


def load_labels(images: str) -> list[Label]:
    """Read the labels of a folder.

    Raises:
        UserError: no such folder, or malformed labels.
        NotFoundError: no labels in it, or a picture that does not exist.
    """
    check(Path(images).is_dir(), f"images={images} is not a directory: name a folder with labels.jsonl or labels.csv")
    return read_labels(Path(images))


def load_picture(path: Path) -> Image.Image:
    """Decode a file as upright RGB. With transparent pixels it is grey, on the paper that our reader sees behind it.

    Raises:
        UserError: not an image.
    """
    rgba = load_rgba(path)
    if bool((rgba[3] == 255).all()):
        return Image.fromarray(rgba[:3].permute(1, 2, 0).numpy())
    grey = composite(rgba[None], torch.tensor([rgba.shape[1:]]))[0]
    return Image.fromarray((255 * grey).round().to(torch.uint8).numpy()).convert("RGB")


def compare_readers(readers: list[OcrReader], labels: list[Label]) -> list[OcrResult]:
    """Let every reader read each picture in its turn, alone and on one thread, and time it.

    A picture is decoded once for all of them, before the clock starts. Each reader reads the first picture once more
    before, since some load their models then.

    Raises:
        UserError: a picture that cannot be decoded.
    """
    readings: dict[str, list[list[int]]] = {it.name: [] for it in readers}
    seconds: dict[str, list[float]] = {it.name: [] for it in readers}
    with limit_threads(1):
        for reader in readers:
            reader.read(load_picture(labels[0].image))
        for label in labels:
            image = load_picture(label.image)
            workloads = {it.name: partial(_read_into, readings[it.name], it, image) for it in readers}
            for name, rounds in time_interleaved(workloads, repeats=1, warmup=0).items():
                seconds[name] += rounds
    return [_summarize(it, readings[it.name], seconds[it.name], labels) for it in readers]


def build_readers(run: str, trust: bool | str | None, labels: list[Label]) -> list[OcrReader]:
    """Load our model, and the baselines that are installed.

    Args:
        run, trust: as in `inference.reader.load`.
        labels: of the pictures that will be read.

    Raises:
        UserError: as `inference.reader.load` does; or our model was trained on some of the pictures.
    """
    return [ocr_readers.our_reader(run, trust, labels), *ocr_readers.build_baselines()]


def to_dict(results: list[OcrResult], labels: list[Label]) -> dict[str, Any]:
    """Results as plain values: scores of each reader, and what it read in each picture."""
    scores = [
        {
            "reader": it.reader,
            "exact_match": it.exact_match.value,
            "exact_match_interval": [it.exact_match.low, it.exact_match.high],
            "milliseconds": dict(zip(("median", "p5", "p95"), it.milliseconds, strict=True)),
            "megabytes": it.megabytes,
        }
        for it in results
    ]
    pictures = [
        {
            "image": label.name,
            "digits": label.digits,
            "readings": {it.reader: it.digits[index] for it in results},
        }
        for index, label in enumerate(labels)
    ]
    return {"scores": scores, "pictures": pictures}


def _read_into(readings: list[list[int]], reader: OcrReader, image: Image.Image) -> None:
    readings.append(reader.read(image))


def _summarize(reader: OcrReader, digits: list[list[int]], seconds: list[float], labels: list[Label]) -> OcrResult:
    correct = torch.tensor([read == label.digits for read, label in zip(digits, labels, strict=True)])
    median, fast, slow = (float(it) for it in 1000 * np.quantile(seconds, (0.5, 0.05, 0.95)))
    exact_match = proportion_with_interval(correct, torch.ones(len(labels)), _shared_sources(labels))
    return OcrResult(reader.name, exact_match, (median, fast, slow), reader.num_bytes / 1e6, digits)


def _shared_sources(labels: list[Label]) -> SharedSources:
    """Pictures that `synthesise` wrote name their source digits; all others are independent."""
    sources = torch.full((len(labels), max(1, *(len(it.sources) for it in labels))), -1)
    for row, label in zip(sources, labels, strict=True):
        row[: len(label.sources)] = torch.tensor(label.sources, dtype=torch.long)
    return SharedSources(sources)
