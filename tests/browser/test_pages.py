"""Reports and comparisons as a person sees them."""

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


class Seen:
    """A page in a window, and what it asked for."""

    def __init__(self, chromium: Any, path: Path, width: int = 1200, scheme: str = "light") -> None:
        self.page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.fetched: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        self.own = path.as_uri()

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)


def test_wide_scenes_fit_a_phone(chromium: Any, tmp_path: Path) -> None:
    tiny = [it for it in TINY if not it.startswith("trainer.max_steps")]
    run = mnist_seq.fit("data=line", *tiny, "trainer.max_steps=2", f"hydra.run.dir={tmp_path / 'run'}")
    seen = Seen(chromium, run.report, 390)
    assert seen.ask("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_report_needs_nothing_and_fits(chromium: Any, tiny_run: Run, scheme: str, width: int) -> None:
    seen = Seen(chromium, tiny_run.report, width, scheme)
    assert [url for url in seen.fetched if not url.startswith("data:")] == [seen.own]
    assert not seen.complaints
    assert seen.ask("document.documentElement.scrollWidth") <= width, "nothing sticks out"
    assert seen.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert seen.ask("document.images.length") > 60
    links = "[...document.querySelectorAll('nav a')].every(link => document.querySelector(link.hash).offsetHeight > 50)"
    assert seen.ask(links)
    colours = "['color', 'backgroundColor'].map(it => getComputedStyle(document.body)[it].match(/\\d+/g).map(Number))"
    ink, paper = (sum(colour[:3]) for colour in seen.ask(colours))
    assert (paper < ink) == (scheme == "dark")
    text = "getComputedStyle(document.querySelector('svg text')).fill.match(/\\d+/g).map(Number)"
    assert sum(seen.ask(text)[:3]) == ink, "drawings take the page's colours"


def test_a_table_of_runs_is_sorted_by_a_click_and_by_a_key(chromium: Any, tmp_path: Path) -> None:
    for depth, seed in ((1, 0), (2, 1), (1, 1)):
        run = mnist_seq.fit(
            *TINY, "model=classifier", f"seed={seed}", f"model.encoder_depth={depth}", "trainer.max_steps=2",
            f"hydra.run.dir={tmp_path}/{depth}-{seed}",
        )  # fmt: skip
        run.update_metrics(overrides=[f"model.encoder_depth={depth}", f"seed={seed}"])
    (tmp_path / "comparison.html").write_text(sweep_report.render_sweep(load_runs(find_runs(tmp_path)), "runs"))
    seen = Seen(chromium, tmp_path / "comparison.html")
    column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[{}].innerText)"
    seen.page.click("th:has-text('encoder_depth')")
    assert seen.ask(column.format(0)) == ["2", "1", "1"]
    seen.page.click("th:has-text('encoder_depth')")
    assert seen.ask(column.format(0)) == ["1", "1", "2"]
    seen.page.focus("th:has-text('seed')")
    seen.page.keyboard.press("Enter")
    assert seen.ask(column.format(1)) == ["1", "1", "0"]
    assert not seen.complaints
