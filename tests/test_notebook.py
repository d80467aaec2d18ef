"""The lesson: it runs from top to bottom, offline, and what it shows is what it would show now."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

LESSON = Path(__file__).parents[1] / "mnist_seq" / "lesson.ipynb"


def printed(lesson: nbformat.NotebookNode) -> list[str]:
    """What its cells print and return, pictures apart."""
    outputs = [output for cell in lesson.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def rounded(text: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", text)


@pytest.mark.slow
def test_the_lesson_runs_and_says_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    kept = nbformat.read(LESSON, as_version=4)
    again = nbformat.read(LESSON, as_version=4)
    NotebookClient(again, timeout=300).execute()
    assert [rounded(text) for text in printed(again)] == [rounded(text) for text in printed(kept)]
    pictures = [
        output for cell in again.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 6


def test_the_lesson_is_kept_with_its_pictures_and_without_errors() -> None:
    kept = nbformat.read(LESSON, as_version=4)
    nbformat.validate(kept)
    code = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [
        output
        for cell in code
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert LESSON.stat().st_size < 1_000_000
