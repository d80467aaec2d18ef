"""An evaluation on images on disk names their files, takes their writers into account, and finds suspect labels."""

from __future__ import annotations

import csv
import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import mnist_seq
from mnist_seq.config import CorruptionConfig, EvaluateConfig, FolderConfig, ScatterConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.errors import UserError
from mnist_seq.evaluation.evaluator import Evaluator, load_evaluator
from mnist_seq.evaluation.suspects import find_suspects
from mnist_seq.inference import weights
from mnist_seq.nn import build
from mnist_seq.reporting.evaluation_report import evaluate_and_report
from tests.conftest import TINY, tiny_models
from tests.data.preset_configs import pool, preset
from tests.data.test_export_dataset import export

WRONG = (3, 15, 27, 39)
"""Images whose labels are set wrong, all of one writer."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 digits of 12 writers, all for validation; four labels are wrong."""
    directory = export(
        tmp_path_factory.mktemp("digits") / "mine", 120, SyntheticDataset(preset("single"), pool("test"))
    )
    for name in ("card.json", "README.md", "SHA256SUMS"):
        (directory / name).unlink()
    rows = [json.loads(line) for line in (directory / "labels.jsonl").read_text().splitlines()]
    for index, row in enumerate(rows):
        digit = row["digits"][0]
        row |= {"writer": f"w{index % 12}", "pen": index % 3, "sources": [], "cells": None}
        row["digits"] = [(digit + 1) % 10 if index in WRONG else digit]
    (directory / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return directory


def evaluator(directory: Path, **values: Any) -> Evaluator:
    data = FolderConfig(path=str(directory), val_fraction=1, **values)
    return load_evaluator(EvaluateConfig(run="pretrained:single", data=data, device="cpu"))


def test_images_with_wrong_labels_are_the_first_suspects(digits: Path) -> None:
    suspects = find_suspects(evaluator(digits).evaluate())
    assert {suspect.file for suspect in suspects[:4]} == {f"images/00000/{index:08}.png" for index in WRONG}
    rows = {row["image"]: row for row in map(json.loads, (digits / "labels.jsonl").read_text().splitlines())}
    for suspect in suspects:
        assert suspect.label == str(rows[suspect.file]["digits"][0]) != suspect.reading
    confidences = [suspect.confidence for suspect in suspects]
    assert confidences == sorted(confidences, reverse=True)
    assert min(confidences) >= 0.5


def test_images_of_one_writer_are_dependent_where_there_are_ten_writers(digits: Path) -> None:
    result = evaluator(digits).evaluate()
    assert result.predictions.writer_ids is not None
    assert result.predictions.writer_ids.tolist() == [index % 12 for index in range(120)]
    assert torch.equal(result.predictions.shared_ids, result.predictions.writer_ids[:, None])
    few = evaluator(digits, split_by="pen").evaluate()
    assert few.predictions.writer_ids is None
    by_writer, by_image = result.metrics["exact_match"], few.metrics["exact_match"]
    assert by_writer.value == by_image.value
    assert by_writer.low < by_image.low, "most errors are of one writer"


def test_evaluation_names_files_and_tells_suspects_and_what_intervals_mean(digits: Path, tmp_path: Path) -> None:
    config = EvaluateConfig(
        run="pretrained:single",
        data=FolderConfig(path=str(digits), val_fraction=1),
        output_dir=str(tmp_path),
        device="cpu",
        corruptions=CorruptionConfig(blur=0.1),
    )
    with (console := Console(width=200)).capture() as capture:
        evaluate_and_report(config, console)
    assert "intervals by writer: 12 of them are taken to be independent" in capture.get()
    told = re.search(r"confident of another reading of (\d+) images, so look at their labels: (.*)", capture.get())
    assert told is not None
    with (tmp_path / "suspects.csv").open(encoding="utf-8") as file:
        suspects = list(csv.DictReader(file))
    assert len(suspects) == int(told[1]) >= 4
    with (tmp_path / "scenes.csv").open(encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)][:2] == [f"images/00000/{index:08}.png" for index in (0, 1)]
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(suspect["file"] in report for suspect in suspects)


def test_images_are_drawn_as_the_model_reads_them(digits: Path, tmp_path: Path) -> None:
    """The size of its digits included, which the folder does not know."""
    spec = ScatterConfig(digit_size=20).spec
    weights.save(build(tiny_models()["enc_dec"], spec), tmp_path / "weights.safetensors", data={})
    data = FolderConfig(path=str(digits), val_fraction=1)
    loaded = load_evaluator(EvaluateConfig(run=str(tmp_path / "weights.safetensors"), data=data, device="cpu"))
    assert loaded.scenes.spec.digit_size == 20


def test_a_model_that_saw_all_images_of_a_folder_is_evaluated_on_those_of_another(digits: Path, tmp_path: Path) -> None:
    other = shutil.copytree(digits, tmp_path / "other")
    run = mnist_seq.fit(*TINY, f"data.from={digits}", "data.pool=full", f"hydra.run.dir={tmp_path / 'run'}")
    for path, allowed in ((other, True), (digits, False)):
        config = EvaluateConfig(run=str(run.path), data=FolderConfig(path=str(path), val_fraction=1), device="cpu")
        with nullcontext() if allowed else pytest.raises(UserError, match="was trained on the val digits too"):
            load_evaluator(config)
