"""The lesson notebook: runs offline from top to bottom, and its saved outputs are current."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

LESSON = Path(__file__).parents[1] / "mnist_seq" / "lesson.ipynb"


def text_outputs(lesson: nbformat.NotebookNode) -> list[str]:
    """What the cells print and return, without pictures."""
    outputs = [output for cell in lesson.cells for output in cell.get("outputs", [])]
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]


def rounded(text: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}", text)


@pytest.mark.slow
def test_lesson_runs_and_reproduces_its_saved_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a closed port
    saved = nbformat.read(LESSON, as_version=4)
    executed = nbformat.read(LESSON, as_version=4)
    NotebookClient(executed, timeout=300).execute()
    assert [rounded(text) for text in text_outputs(executed)] == [rounded(text) for text in text_outputs(saved)]
    pictures = [
        output for cell in executed.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 6


def test_lesson_is_saved_with_its_outputs_and_without_errors() -> None:
    saved = nbformat.read(LESSON, as_version=4)
    nbformat.validate(saved)
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [
        output
        for cell in code
        for output in cell.outputs
        if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert LESSON.stat().st_size < 1_000_000
