"""Reports and comparisons in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mnist_seq
from mnist_seq.run_dir import Run
from mnist_seq.sweeps import sweep_report
from mnist_seq.sweeps.sweep_runs import find_runs, load_runs
from tests.conftest import TINY

pytestmark = pytest.mark.browser


class BrowserPage:
    """A page in a window, with the URLs that it requested and its console messages."""

    def __init__(self, chromium: Any, path: Path, width: int = 1200, scheme: str = "light") -> None:
        self.page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.goto(path.as_uri())
        self.url = path.as_uri()

    def evaluate(self, script: str) -> Any:
        return self.page.evaluate(script)


def test_report_of_wide_scenes_fits_a_phone(chromium: Any, tmp_path: Path) -> None:
    tiny = [it for it in TINY if not it.startswith("trainer.max_steps")]
    run = mnist_seq.fit("data=string", *tiny, "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    page = BrowserPage(chromium, run.report, 390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_report_requests_nothing_and_fits_in_light_and_dark(
    chromium: Any, tiny_run: Run, scheme: str, width: int
) -> None:
    page = BrowserPage(chromium, tiny_run.report, width, scheme)
    assert [url for url in page.requests if not url.startswith("data:")] == [page.url]
    assert not page.messages
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "no horizontal overflow"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.images.length") > 60
    links = "[...document.querySelectorAll('nav a')].every(link => document.querySelector(link.hash).offsetHeight > 50)"
    assert page.evaluate(links)
    colors = "['color', 'backgroundColor'].map(it => getComputedStyle(document.body)[it].match(/\\d+/g).map(Number))"
    ink, paper = (sum(colour[:3]) for colour in page.evaluate(colors))
    assert (paper < ink) == (scheme == "dark")
    text = "getComputedStyle(document.querySelector('svg text')).fill.match(/\\d+/g).map(Number)"
    assert sum(page.evaluate(text)[:3]) == ink, "plots take the colors of the page"


def test_table_of_runs_is_sorted_by_click_and_by_keyboard(chromium: Any, tmp_path: Path) -> None:
    for depth, seed in ((1, 0), (2, 1), (1, 1)):
        run = mnist_seq.fit(
            *TINY, "model=classifier", f"seed={seed}", f"model.encoder_depth={depth}", "trainer.max_steps=2",
            f"hydra.run.dir={tmp_path}/{depth}-{seed}",
        )  # fmt: skip
        run.update_metrics(overrides=[f"model.encoder_depth={depth}", f"seed={seed}"])
    (tmp_path / "comparison.html").write_text(sweep_report.render_sweep(load_runs(find_runs(tmp_path)), "runs"))
    page = BrowserPage(chromium, tmp_path / "comparison.html")
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[{}].innerText)"
    page.page.click("th:has-text('encoder_depth')")
    assert page.evaluate(column.format(0)) == ["2", "1", "1"]
    page.page.click("th:has-text('encoder_depth')")
    assert page.evaluate(column.format(0)) == ["1", "1", "2"]
    page.page.focus("th:has-text('seed')")
    page.page.keyboard.press("Enter")
    assert page.evaluate(column.format(1)) == ["1", "1", "0"]
    assert not page.messages
