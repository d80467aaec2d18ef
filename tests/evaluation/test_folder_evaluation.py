"""An evaluation on images on disk names their files, takes their writers into account, and finds suspect labels."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from rich.console import Console

import mnist_seq
from mnist_seq.config import CorruptionConfig, EvaluateConfig, FolderConfig, ScatterConfig
from mnist_seq.data.datasets import SyntheticDataset
from mnist_seq.data.labels import read_labels
from mnist_seq.errors import UserError
from mnist_seq.evaluation.evaluator import Evaluator, load_evaluator
from mnist_seq.evaluation.suspects import find_suspects
from mnist_seq.evaluation.writers import describe_intervals, find_writers
from mnist_seq.inference import weights
from mnist_seq.nn import build
from mnist_seq.reporting.evaluation_report import evaluate_and_report
from mnist_seq.run_dir import Run
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


def test_writers_count_only_where_all_are_known_and_a_few_do_not_dominate(digits: Path) -> None:
    labels = read_labels(digits)

    def describe(writers: list[Any]) -> str:
        rows = [label._replace(columns={"writer": it}) for label, it in zip(labels, writers, strict=True)]
        told, ids = describe_intervals(rows, "writer"), find_writers(rows, "writer")
        assert (ids is None) == ("treat images as independent" in told)
        return told

    names: list[Any] = [index % 12 for index in range(120)]
    assert "12 values" in describe(names)
    labels = [label._replace(sources=[]) for label in labels]
    assert "(2 of 120 images have no writer)" in describe(["", None, *names[2:]])
    assert "(no column writer)" in describe([None] * 120)
    assert "(9 values in column writer, but 10 are needed)" in describe([min(it, 8) for it in names])
    assert "(a few values in column writer have most of the images)" in describe(names[:24] + ["w"] * 96)


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
    assert "intervals are clustered by writer: 12 values, treated as independent" in capture.get()
    told = re.search(r"possibly wrong labels, .* another reading: (\d+), in (.*)", capture.get())
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


def test_a_model_is_not_evaluated_on_images_that_it_was_trained_on(digits: Path, tmp_path: Path) -> None:
    """Nor if they are somewhere else, split in another way, or were trained on by what it began with."""
    copied, others = (shutil.copytree(digits, tmp_path / name) for name in ("copied", "others"))
    for path in others.rglob("*.png"):
        Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
    overrides = (*TINY, f"data.from={digits}", "data.fold=1", "trainer.max_steps=1")
    run = mnist_seq.fit(*overrides, f"hydra.run.dir={tmp_path / 'run'}")
    second = mnist_seq.fit(
        *TINY, f"data.from={others}", f"init_from={run.path}", f"hydra.run.dir={tmp_path / 'second'}"
    )

    def evaluator_of(run: Run, path: Path, **values: Any) -> Evaluator:
        data = FolderConfig(path=str(path), **values)
        return load_evaluator(EvaluateConfig(run=str(run.path), data=data, device="cpu"))

    load_evaluator(EvaluateConfig(run=str(run.path), device="cpu"))
    evaluator_of(run, others, val_fraction=1)
    evaluator_of(run, copied, fold=1)
    message = (
        r"was trained on {} of these {} val images, such as .*: use other images, or its own split: .*data.fold={}"
    )
    for model, path, values, counts in (
        (run, digits, {}, (24, 24, 1)),
        (run, copied, {"val_fraction": 1}, (96, 120, 1)),
        (second, copied, {"fold": 2}, (24, 24, 0)),
        (second, others, {"fold": 2}, (24, 24, 0)),
    ):
        with pytest.raises(UserError, match=message.format(*counts)):
            evaluator_of(model, path, **values)
    rows = (digits / "labels.jsonl").read_text().splitlines()
    (digits / "labels.jsonl").write_text("\n".join(rows[:-7]))  # so that the split is another
    with pytest.raises(UserError, match="its images or labels have changed, and with them the split: train anew"):
        load_evaluator(EvaluateConfig(run=str(run.path), device="cpu"))
    with pytest.raises(UserError, match=r"init_from=.*run was trained on 24 of 24 val images"):
        mnist_seq.build(*TINY, f"data.from={copied}", f"init_from={run.path}")
