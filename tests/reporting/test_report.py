"""The report tells what was judged, and asks nothing of anybody."""

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
from mnist_seq.config import EvaluateConfig
from mnist_seq.evaluation.eval_result import EvalResult, save_eval_result
from mnist_seq.evaluation.evaluate_model import evaluate_model
from mnist_seq.evaluation.evaluator import Evaluator, load_evaluator
from mnist_seq.nn.decoding import DecodeOutput
from mnist_seq.reporting import report
from mnist_seq.reporting.report import ReportInput
from mnist_seq.run_dir import Run
from tests.conftest import TINY


class Page(HTMLParser):
    """What a browser would fetch, the sections, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.sections: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data") and value:
                self.fetched.append(value)
            if tag == "section" and name == "id":
                self.sections.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def page_of(asked: Evaluator, judgement: EvalResult, run: Run | None = None) -> Page:
    return Page(
        report.render_report(replace(ReportInput.from_evaluator(asked), name="a <b>name</b>", run=run), judgement)
    )


@pytest.fixture(scope="module")
def judged(tiny_run: Run) -> tuple[Evaluator, EvalResult]:
    asked = load_evaluator(EvaluateConfig(run=str(tiny_run.path), device="cpu"))
    return asked, asked.evaluate()


def test_a_report_tells_all_and_fetches_nothing(tiny_run: Run, judged: tuple[Evaluator, EvalResult]) -> None:
    page = page_of(*judged, tiny_run)
    assert page.sections == [
        "figures", "strata", "digits", "worst", "calibration", "attention", "curves", "data", "about",
    ]  # fmt: skip
    assert all(it.startswith(("data:", "#")) for it in page.fetched)
    assert not page.tags & {"script", "iframe", "object", "embed"}
    assert "NOT MNIST" in page.words
    assert "a <b>name</b>" in page.words
    assert f"{judged[1].metrics['exact_match'].value:.2%}"[:-1] in page.words
    assert "model.dim=16" in page.words
    text = report.render_report(ReportInput.from_evaluator(judged[0]), judged[1])
    assert not re.search(
        r"url\((?!#)|@import|https?://(?!www\.w3\.org|matplotlib\.org|purl\.org|creativecommons)", text
    )


def test_weights_alone_have_a_report_without_curves(judged: tuple[Evaluator, EvalResult]) -> None:
    page = page_of(*judged)
    assert "curves" not in page.sections
    assert "attention" in page.sections


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
def test_every_kind_of_reader_has_one(overrides: tuple[str, ...], attends: bool, tmp_path: Path) -> None:
    own = [it for it in TINY if "custom" not in str(overrides) or not it.startswith("model.")]
    run = mnist_seq.fit(*overrides, *own, "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    page = Page(run.report.read_text())
    assert ("attention" in page.sections) == attends
    assert all(it.startswith(("data:", "#")) for it in page.fetched)


def test_who_reads_all_right_has_no_errors_to_show(judged: tuple[Evaluator, EvalResult]) -> None:
    asked, _ = judged
    truth = asked.scenes[: asked.num_scenes].digits
    perfect = DecodeOutput(truth, torch.zeros(truth.shape), torch.zeros(len(truth)), torch.ones(len(truth)) > 0)
    judgement = evaluate_model(
        asked.model, asked.scenes, asked.num_scenes, asked.num_scenes, decode_fn=lambda images: perfect
    )
    page = page_of(asked, judgement)
    assert "Nothing was read wrong." in page.words
    assert "Every digit was read right." in page.words


def test_the_table_of_scenes_says_what_the_figures_say(judged: tuple[Evaluator, EvalResult], tmp_path: Path) -> None:
    """Counted anew from the file, by a few lines of plain Python."""
    save_eval_result(judged[1], tmp_path)
    told = json.loads((tmp_path / "evaluation.json").read_text())
    with (tmp_path / "scenes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == told["scenes"] == 100
    pairs = [(row["prediction"].split(), row["digits"].split()) for row in rows]
    right = [read == truth and not row["error"] for (read, truth), row in zip(pairs, rows, strict=True)]
    assert told["exact_match"] == pytest.approx(sum(right) / 100)
    assert right == [row["exact_match"] == "1" for row in rows]
    in_place = sum(a == b for read, truth in pairs for a, b in zip(read, truth, strict=False))
    assert told["digit_accuracy"] == pytest.approx(in_place / sum(len(truth) for _, truth in pairs))
    assert told["count_accuracy"] == pytest.approx(sum(len(read) == len(truth) for read, truth in pairs) / 100)
    for kind, many in told["errors"].items():
        assert many == sum(row["error"] == kind for row in rows)
    for digit in range(10):
        there = sum(truth.count(str(digit)) for _, truth in pairs)
        assert sum(told["confusion"][digit]) == there
    by_digit = {it["name"]: it for it in told["slices"]["digit accuracy by class"]}
    threes = [read[place : place + 1] == ["3"] for read, truth in pairs for place, it in enumerate(truth) if it == "3"]
    assert by_digit["3"]["value"] == pytest.approx(sum(threes) / len(threes))


def test_pages_of_what_was_cut_short_are_not_left_behind(judged: tuple[Evaluator, EvalResult], tmp_path: Path) -> None:
    asked, judgement = judged
    broken = replace(ReportInput.from_evaluator(asked), card={}, run=None, scenes=None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        report.write_report(broken, judgement, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())
