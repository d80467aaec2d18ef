"""The report shows the evaluation, and needs no network."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import mnist_seq
from mnist_seq.config import CorruptionConfig, EvaluateConfig
from mnist_seq.evaluation.eval_result import EvalResult, save_eval_result
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.evaluation.evaluator import Evaluator, load_evaluator
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.reporting import report
from mnist_seq.run_dir import Run
from tests.conftest import TINY


class Page(HTMLParser):
    """A page as a browser sees it: URLs that it fetches, section ids, tags and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.sections: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data") and value:
                self.fetched.append(value)
            if tag == "section" and name == "id":
                self.sections.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def without_run(evaluator: Evaluator) -> Evaluator:
    """The same model without the run directory that trained it."""
    return replace(evaluator, config=replace(evaluator.config, run="a <b>name</b>"))


@pytest.fixture(scope="module")
def evaluated(tiny_run: Run) -> tuple[Evaluator, EvalResult]:
    evaluator = load_evaluator(EvaluateConfig(run=str(tiny_run.path), device="cpu"))
    return evaluator, evaluator.evaluate()


def test_report_has_every_section_and_fetches_nothing(tiny_run: Run, evaluated: tuple[Evaluator, EvalResult]) -> None:
    text = report.render_report(*evaluated)
    page = Page(text)
    assert page.sections == [
        "metrics", "slices", "confusion", "errors", "calibration", "attention", "curves", "scenes", "reproducibility",
    ]  # fmt: skip
    assert all(it.startswith(("data:", "#")) for it in page.fetched)
    assert not page.tags & {"script", "iframe", "object", "embed"}
    assert "NOT MNIST" in page.text
    assert str(tiny_run.path) in page.text
    assert f"{evaluated[1].metrics['exact_match'].value:.2%}"[:-1] in page.text
    assert "model.dim=16" in page.text
    assert not re.search(
        r"url\((?!#)|@import|https?://(?!www\.w3\.org|matplotlib\.org|purl\.org|creativecommons)", text
    )


def test_report_of_weights_without_a_run_has_no_curves(evaluated: tuple[Evaluator, EvalResult]) -> None:
    evaluator, result = evaluated
    page = Page(report.render_report(without_run(evaluator), result))
    assert "a <b>name</b>" in page.text
    assert "curves" not in page.sections
    assert "attention" in page.sections


def test_report_of_corrupted_scenes_names_their_family(tiny_run: Run) -> None:
    config = EvaluateConfig(run=str(tiny_run.path), device="cpu", corruptions=CorruptionConfig(blur=1.0))
    evaluator = load_evaluator(config)
    page = Page(report.render_report(evaluator, evaluator.evaluate()))
    assert f"val scenes of {evaluator.data.family} " in page.text
    assert "blur=1" in page.text


@pytest.mark.parametrize(
    ("overrides", "attends"),
    [
        (("model=classifier", "data=single"), True),
        (("model=classifier", "model.pooling=mean", "data=grid"), False),
        (("model=enc_dec", "data=overlap"), True),
        (("model=enc_dec", "data=scatter", "data.min_digits=0"), True),
        (("model=custom", "model._target_=tests.nn.test_custom_model.Recurrent", "data=single"), False),
    ],
)
def test_every_kind_of_model_has_a_report(overrides: tuple[str, ...], attends: bool, tmp_path: Path) -> None:
    tiny = [it for it in TINY if "custom" not in str(overrides) or not it.startswith("model.")]
    run = mnist_seq.fit(*overrides, *tiny, "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    page = Page(run.report.read_text())
    assert ("attention" in page.sections) == attends
    assert all(it.startswith(("data:", "#")) for it in page.fetched)


def test_report_of_a_perfect_model_shows_no_errors(evaluated: tuple[Evaluator, EvalResult]) -> None:
    evaluator, _ = evaluated
    labels = evaluator.scenes[: evaluator.num_scenes].digits
    perfect = DecodeOutput(labels, torch.zeros(labels.shape), torch.zeros(len(labels)), torch.ones(len(labels)) > 0)
    result = evaluate_model(
        evaluator.model, evaluator.scenes, evaluator.num_scenes, evaluator.num_scenes, decode_fn=lambda images: perfect
    )
    page = Page(report.render_report(without_run(evaluator), result))
    assert "No errors." in page.text
    assert "No digit was misread." in page.text


def test_scenes_csv_agrees_with_the_metrics(evaluated: tuple[Evaluator, EvalResult], tmp_path: Path) -> None:
    """Recomputed from the file by a few lines of plain Python."""
    save_eval_result(evaluated[1], tmp_path)
    metrics = json.loads((tmp_path / "evaluation.json").read_text())
    with (tmp_path / "scenes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == metrics["scenes"] == 100
    pairs = [(row["prediction"].split(), row["digits"].split()) for row in rows]
    right = [read == truth and not row["error"] for (read, truth), row in zip(pairs, rows, strict=True)]
    assert metrics["exact_match"] == pytest.approx(sum(right) / 100)
    assert right == [row["exact_match"] == "1" for row in rows]
    in_place = sum(a == b for read, truth in pairs for a, b in zip(read, truth, strict=False))
    assert metrics["digit_accuracy"] == pytest.approx(in_place / sum(len(truth) for _, truth in pairs))
    assert metrics["count_accuracy"] == pytest.approx(sum(len(read) == len(truth) for read, truth in pairs) / 100)
    for kind, many in metrics["errors"].items():
        assert many == sum(row["error"] == kind for row in rows)
    for digit in range(10):
        count = sum(truth.count(str(digit)) for _, truth in pairs)
        assert sum(metrics["confusion"][digit]) == count
    by_digit = {it["name"]: it for it in metrics["slices"]["digit accuracy by class"]}
    threes = [read[place : place + 1] == ["3"] for read, truth in pairs for place, it in enumerate(truth) if it == "3"]
    assert by_digit["3"]["value"] == pytest.approx(sum(threes) / len(threes))


def test_failed_report_leaves_no_file(evaluated: tuple[Evaluator, EvalResult], tmp_path: Path) -> None:
    evaluator, result = evaluated
    broken = replace(evaluator, model=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        report.write_report(broken, result, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
